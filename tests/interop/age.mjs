// age-encryption (npm) behind one question a line: JSON from stdin, an answer for each to stdout.
//
//   {"do": "keygen"}                                          -> {"identity", "recipient"}
//   {"do": "encrypt", "recipients": [...], "data": base64}    -> {"data": base64}
//   {"do": "decrypt", "identities": [...], "data": base64}    -> {"data": base64}
//
// What the library refuses is {"error": its words}.
import { readFileSync } from "node:fs"
import { webcrypto } from "node:crypto"

globalThis.crypto ??= webcrypto // Node 18 has it, but not under its name
const age = await import("age-encryption")

const base64 = (bytes) => Buffer.from(bytes).toString("base64")
const bytes = (text) => new Uint8Array(Buffer.from(text, "base64"))

async function answer(question) {
  if (question.do === "keygen") {
    const identity = await age.generateHybridIdentity()
    return { identity, recipient: await age.identityToRecipient(identity) }
  }
  if (question.do === "encrypt") {
    const encrypter = new age.Encrypter()
    for (const recipient of question.recipients) encrypter.addRecipient(recipient)
    return { data: base64(await encrypter.encrypt(bytes(question.data))) }
  }
  const decrypter = new age.Decrypter()
  for (const identity of question.identities) decrypter.addIdentity(identity)
  return { data: base64(await decrypter.decrypt(bytes(question.data), "uint8array")) }
}

for (const question of JSON.parse(readFileSync(0, "utf8"))) {
  const said = await answer(question).catch((error) => ({ error: String(error) }))
  console.log(JSON.stringify(said))
}
