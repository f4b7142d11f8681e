"""Issued keys of 4.8 PB in packs of 1 GiB: how long the file is, what a reader of it takes; a name and value a line."""

import os
import resource
import sys
import time
from datetime import UTC, datetime, timedelta

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from sealift.formats import age, age_keys, sshsig, unlock
from sealift.formats.allowed_signers import AllowedSigners
from sealift.formats.manifest import FileRef
from sealift.reading.keys import IssuedKeys
from sealift.trade.lists import TIME
from sealift.trade.unlock import NAMESPACE


def write(path: str) -> tuple[str, bytes]:
    """The file, in a child; the job's identity and the allowed signers."""
    identity, recipient = age_keys.generate_identity()
    key = Ed25519PrivateKey.generate()
    signers = f'h namespaces="{NAMESPACE}" {sshsig.public_key_of(key).line}\n'.encode()
    if pid := os.fork():
        assert os.waitpid(pid, 0)[1] == 0
        return identity, signers
    groups = [unlock.UnlockGroup(group=n, data=8, stripes=-(-int(4.8e15) // (1 << 30)) // 30 // 8) for n in range(30)]
    rows = sum(each.rows for each in groups)
    keys, now = os.urandom(16 * rows), datetime.now(UTC)
    record = unlock.Unlock(
        shipment="0" * 16, consignment_id="SL-1", seal=FileRef(bytes=1, blake3="0" * 64), job="j", name="n",
        organisation="o", issued_at=now.strftime(TIME), valid_until=(now + timedelta(hours=1)).strftime(TIME),
        recipients=[recipient], groups=groups,
        keys=unlock.KeyTable(rows=rows, issued=rows, root=unlock.table_root(rows, keys).hex()),
    )  # fmt: skip
    data = unlock.encode(record)
    signature = sshsig.sign_ed25519(data, key, NAMESPACE)
    with open(path, "wb") as file, age.Writer([age_keys.parse_recipient(recipient)], file.write) as sealed:
        unlock.write(record, data, signature, keys, sealed.write)
    os._exit(0)


path = os.path.join(sys.argv[1], "keys.age")
identity, signers = write(path)
before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
issued = IssuedKeys(path, [age_keys.parse_identity(identity)], AllowedSigners.parse(signers))
opened = time.monotonic() - begun
for row in range(0, issued.issued.record.keys.rows, 2000):
    issued._open.key(row)
held = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) >> 10
sys.stdout.write(f"opened_s {opened}\nheld_mib {held}\nbytes {os.path.getsize(path)}\n")
