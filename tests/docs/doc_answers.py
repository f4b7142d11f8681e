"""One object of every command's --json, of small real shipments in which most that can be said is said."""

import json
import os
import shlex
import shutil
import subprocess
import tempfile
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import erasures
import loops
import plans
import screening_lists
import serving
from doc_pages import blocks, environment

from sealift.formats import age_keys
from sealift.stages.plan import document
from sealift.trade import key_sample


def shell(folder, command, *codes):
    """stdout of a command in `folder`, which must exit with one of `codes` (0 if none is given)."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment(folder / "home"),
        capture_output=True,
        check=False,
        timeout=120,
    )
    assert done.returncode in (codes or (0,)), (command, done.returncode, done.stdout, done.stderr)
    return done.stdout.decode()


def flat(value, path=""):
    """{dotted path: set of JSON types}; `[]` is an element of an array."""
    kind = {dict: "object", list: "array", str: "string", bool: "boolean", int: "integer", float: "number"}
    found = {path: {kind.get(type(value), "null")}} if path else {}
    if isinstance(value, dict):
        for name, each in value.items():
            found = merged(found, flat(each, f"{path}.{name}" if path else name))
    elif isinstance(value, list):
        for each in value:
            found = merged(found, flat(each, f"{path}[]"))
    return found


def merged(left, right):
    return {path: left.get(path, set()) | right.get(path, set()) for path in {**left, **right}}


def gather(folder, example):
    """{command: [objects]}; `example` is the README, whose keys and declaration are taken."""
    (folder / "home").mkdir()
    lines = blocks(example, "bash")
    shell(folder, "set -e; " + "".join(lines[:2]))  # corpus, keys, signers, declaration
    os.mkfifo(folder / "corpus/pipe")
    shell(
        folder,
        "cd corpus && ln text/100.txt hard && ln -s text/100.txt soft && touch $'text/\\xff' && ln -s $'\\xfe' odd",
    )
    said = {}

    def ask(name, command, *codes):
        printed = shell(folder, f"export SEALIFT_ALLOWED_SIGNERS=$PWD/signers; sealift {command} --json", *codes)
        objects = [json.loads(line) for line in printed.splitlines()]
        assert name == "ls" or len(objects) == 1, "one object, and nothing else on stdout"
        said.setdefault(name, []).extend(objects)

    _plan(ask)
    _drives(folder, ask)
    _origin(folder, ask)
    _custody(folder, ask)
    _unlock(folder, ask)
    _audit(folder, ask)
    _destination(folder, ask)
    return said


def _plan(ask):
    ask("plan --new", "plan --new voyage.toml")
    told = "--drives 16x10TB --carriers anna:hand,ben,cem,dan --bays 8 --voyage voyage.toml"
    ask("plan", f"plan corpus {told} --calibration host.json")
    ask("plan", f"plan corpus {told} --calibration host.json --deadline 2099-01-01")


def _drives(folder, ask):
    if os.geteuid() != 0 or not os.path.exists("/dev/loop-control"):
        ask("drives", "drives")
        ask("drives test", "drives test /dev/shm --bytes 4MiB")
        return
    with tempfile.TemporaryDirectory(prefix="sealift-drives-") as place, loops.loops(Path(place)) as made:
        name, device = made.drive("a.img")
        ask("drives prepare", f"drives prepare {name} --filesystem ext4 --yes {name}")
        mount = made.mount(device, "mnt")
        ask("drives", "drives --need 1TB")
        ask("drives test", f"drives test {mount} --bytes 4MiB --record tests.json")
        ask("drives locate", f"drives locate {name} --seconds 0.1")
        loops.run("umount", mount)
        papers = erasures.Papers(Path(place), ("SER0",))
        look = shlex.join(["erase", name, "--serial", f"{name}=SER0", "--method", "clear", *papers.look()])
        ask("erase", look)
        ask("erase", f"{look} {shlex.join(papers.do(name))}")


def _pack(state, mounts, more=""):
    carried = {"a": ("Anna", 1), "b": ("Anna", 2), "c": ("Bo", 3), "d": ("Bo", 4)}
    drives = " ".join(f"--to drives/{m} --serial drives/{m}=EXAMPLE-{carried[m][1]}" for m in mounts)
    return (
        f"pack corpus --state {state} --declaration declaration.toml {drives} --allow-same-filesystem --pack-size 1MiB"
        f" --group-size 2 --parity 1 --sign-with dana_key {more}"
    )


def _origin(folder, ask):
    ask("declare --new", "declare --new form.toml --author-key dana_key.pub")
    (folder / "shipment.toml").write_text(document.render(plans.make(3, ("Anna", "Bo", "Cem"), (2, 1, 1), (1, 0))))
    ask("declare --new", "declare --new planned.toml --plan shipment.toml")
    ask("labels", "labels shipment.toml --declaration planned.toml --out labels.pdf")
    ask("declare --check", "declare --check form.toml", 1)
    ask("declare --check", "declare --check declaration.toml")
    ask("declare --check", "declare --check declaration.toml --sign-with dana_key")
    ask("release --check", "release --check declaration.toml", 5)
    _screened(folder, ask)
    _proved(folder, ask)
    _ruled(folder, ask)
    released = 'release declaration.toml --sign-with olu_key --officer "Olu Officer" --reason "because"'
    released += " --reference EX-1 --list csl.csv"
    ask("release", released)
    ask("release", f"{released} --rules rules.toml")  # again: the first is superseded
    shell(folder, "cp declaration.toml revised.toml; cp declaration.r1.toml revised.r1.toml")
    ask("declare --revise", "declare --revise revised.toml")
    ask("declare --sheet", "declare --sheet Anna declaration.toml")
    (folder / "everybody").write_text((folder / "signers").read_text() + (folder / "screeners").read_text())
    ask("documents", "documents declaration.toml --to papers --allowed-signers everybody")
    ask("pack", _pack("half", "ac"), 6)
    ask("status", "status --state half")
    for drive in "ac":
        shutil.rmtree(folder / "drives" / drive / "sealift")
    ask("pack", _pack("state", "abcd"), 2)
    ask("status", "status --state state")
    ask("seal", "seal --state state --declaration declaration.toml --sign-with dana_key --out sent drives/a drives/b")


def _screened(folder, ask):
    """A list in which the consignee is, a control character in one of its names; decided, signed twice, made again."""
    people = [screening_lists.One("1", ("Petrel Compute", "Pet\vrel"), "organisation", "PT")]
    (folder / "csl.csv").write_bytes(screening_lists.csl_csv(people))
    (folder / "screeners").write_text(
        "".join(
            f'{who}@kittiwake.example namespaces="sealift-screening" {(folder / f"{who}_key.pub").read_text()}'
            for who in ("olu", "dana")
        )
    )
    sign = '--sign-with dana_key --by "Dana Engineer"'
    ask("screen", f"screen declaration.toml --list csl.csv --fetched {datetime.now(UTC):%Y-%m-%d} {sign}", 5)
    sheet = folder / "declaration.screening.toml"
    ask("screen", f"screen declaration.toml --list csl.csv --fetched {datetime.now(UTC):%Y-%m-%d} {sign}", 5)
    ask("screen --check", "screen declaration.toml --check --allowed-signers screeners", 5)
    text = sheet.read_text().replace('rationale = ""', 'rationale = "another firm"')
    text = text.replace('"potential"\n', '"false_positive"\n').replace(
        "differentiators = []", 'differentiators = ["seat"]'
    )
    sheet.write_text(text.replace('second_reviewer = ""', 'second_reviewer = "Olu Officer"'))
    ask("screen", f"screen declaration.toml --dispose {sheet} {sign}", 5)
    second = '--second --sign-with olu_key --by "Olu Officer"'
    ask("screen", f"screen declaration.toml {second} --allowed-signers screeners")
    ask("screen --check", "screen declaration.toml --check --list csl.csv --allowed-signers screeners")


def _ruled(folder, ask):
    """Rules of our own, by which a flag is up that somebody has looked into."""
    ask("release --new-rules", "release --new-rules rules.toml")
    rules = folder / "rules.toml"
    rules.write_text(rules.read_text().replace("status_days = 30", "status_days = 20"))
    declaration = folder / "declaration.toml"
    flag = 'question = "flag-route"\nanswer = "no"\n'
    looked = f'resolver = "Olu Officer"\nresolved_on = "{datetime.now(UTC).date().isoformat()}"\n'
    text = declaration.read_text()
    assert flag in text
    declaration.write_text(text.replace(flag, flag.replace("no", "yes") + looked))
    ask("declare --check", "declare --check declaration.toml --sign-with dana_key")
    ask("release --check", "release --check declaration.toml --rules rules.toml --list csl.csv")


def _proved(folder, ask):
    """A key that is challenged twice, answered rightly and wrongly, and accepted as the only one."""
    (folder / "recorders").write_text(
        "".join(
            f'{who}@kittiwake.example namespaces="sealift-keys" {(folder / f"{who}_key.pub").read_text()}'
            for who in ("dana", "olu")
        )
    )
    ask("keys check", "keys check declaration.toml --allowed-signers recorders", 5)
    sign = '--sign-with dana_key --by "Dana Engineer" --allowed-signers recorders'
    challenge = f"keys challenge declaration.toml --to outbox {sign}"
    ask("keys challenge", challenge)
    ask("keys challenge", challenge)
    ask("keys check", "keys check declaration.toml --allowed-signers recorders", 5)
    sample = min((folder / "outbox").glob("*.age")).name
    ask("keys answer", f"keys answer outbox/{sample} --identity identity.txt --out answer.json")
    ask("keys check", f"keys check declaration.toml --answer answer.json {sign}", 5)
    olu = '--sign-with olu_key --by "Olu Officer" --allowed-signers recorders'
    ask("keys check", f"keys check declaration.toml --answer answer.json --waive-second because {olu}")
    wrong = "2222-2222-2222-2222-2222-" + check_letters()
    ask("keys check", f"keys check declaration.toml --spoken {wrong} {sign}", 5)
    ask("keys check", "keys check declaration.toml --allowed-signers recorders")


def check_letters():
    """The last group of the code of twenty 2s."""
    return key_sample.code_of("2" * key_sample.SECRET)[-4:]


def _custody(folder, ask):
    for name in ("anna", "tove"):
        shell(folder, f"ssh-keygen -q -t ed25519 -N '' -f {name}_key")
    keys = {name: (folder / f"{name}_key.pub").read_text().strip() for name in ("dana", "anna", "tove")}
    with (folder / "signers").open("a") as file:
        file.writelines(f'{name}@example.com namespaces="sealift-custody" {key}\n' for name, key in keys.items())
    ask("handover --new", "handover custody --new custody.toml --declaration declaration.toml")

    def form(event_type, released, received, *, seal="S1", resolves="", **photos):
        sides = {"released_by": released, "received_by": received}
        text = (
            'type = "sealift-custody-form"\nversion = 1\nconsignment_id = "SL-2026-EXAMPLE"\n'
            f'event_type = "{event_type}"\nlocal_timezone = "UTC"\nplace = "gate"\nreason = "because"\n'
            f"resolves = [{resolves}]\n"
        )
        for side, name in sides.items():
            how = f'paper_photo = "{photos[name]}"' if name in photos else f'key = "{keys[name]}"'
            org = "Kittiwake Research" if name == "dana" else "Petrel Compute"
            text += f'[{side}]\nname = "{name}"\norg = "{org}"\nid_kind = "passport"\n{how}\n'
        before, checked = ("", "no_seal") if event_type == "seal" else (seal, "intact")
        text += (
            f'[[items]]\nserials = ["EXAMPLE-1", "EXAMPLE-2"]\nseal_before = "{before}"\nseal_after = "{seal}"\n'
            f'seal_checked = "{checked}"\ncondition = "good"\n'
        )
        (folder / "event.toml").write_text(text)

    record = "handover custody --event event.toml --declaration declaration.toml"
    form("seal", "dana", "dana")
    ask("handover", f"{record} --sign-with dana_key")
    form("handover", "dana", "anna", seal="S2")
    ask("handover", f"{record} --sign-with dana_key", 3)
    ask("handover", f"{record} --sign-with dana_key --sign-with anna_key --as-found")
    settled = ", ".join(f'"{path.stem}"' for path in (folder / "custody").glob("*.json"))
    form("arrive", "anna", "rui", seal="S2", rui="")
    ask("handover --paper", "handover custody --paper event.toml --declaration declaration.toml --pdf form.pdf")
    form("arrive", "anna", "rui", seal="S2", rui="ab" * 32)
    ask("handover", f"{record} --sign-with anna_key")
    form("handover", "rui", "tove", seal="S2", resolves=settled, rui="cd" * 32)
    ask("handover", f"{record} --sign-with tove_key")
    form("return", "tove", "anna", seal="S2", resolves=settled)
    ask("handover", f"{record} --sign-with tove_key --sign-with anna_key")
    ask("custody", "custody custody --declaration declaration.toml", 3)


def _unlock(folder, ask):
    with (folder / "signers").open("a") as file:
        file.write(f'dana@example.com namespaces="sealift-unlock" {(folder / "dana_key.pub").read_text().strip()}\n')
    job = age_keys.generate_identity()[1]
    words = f"--seal sent/*.seal --identity identity.txt --for {job} --job run-7 --sign-with dana_key --by Dana"
    ask("unlock", f"unlock drives/* {words} --organisation x --custody custody --out run-7.keys.age")
    with tempfile.TemporaryDirectory() as place:
        shutil.copytree(folder / "drives/a", f"{place}/a")
        shutil.copytree(folder / "drives/b", f"{place}/b")
        index = next(Path(place, "a/sealift/packs").rglob("*.age"))
        for path in Path(place).rglob("*.age"):
            if path.name == index.name:
                path.unlink()
        ask("unlock", f"unlock {place}/* {words} --organisation x --custody custody --out less.keys.age", 6)
    ask("custody", "custody custody --declaration declaration.toml", 3)


def _audit(folder, ask):
    with (folder / "signers").open("a") as file:
        file.write(f'auditor@example.com namespaces="sealift-audit" {(folder / "olu_key.pub").read_text().strip()}\n')
    (folder / "notes").mkdir()
    (folder / "notes/odd.txt").write_text("left out")
    papers = "declaration.toml sent/*.seal custody drives/a notes"
    ask("audit", f"audit {papers} --to all.audit.tar --sign-with olu_key", *range(7))
    ask("audit", "audit --verify all.audit.tar", *range(7))


def _destination(folder, ask):
    known = "--seal sent/*.seal"
    opened = f"{known} --identity identity.txt"
    ask("inspect", f"inspect drives/* {known}")
    ask("inspect", f"inspect drives/a {known}", 6)
    ask("inspect", "inspect drives/c", 6)  # neither seal nor trust
    ask("ls", f"ls drives/* {opened}")
    ask("verify", f"verify drives/a drives/b {known}", *range(7))
    (folder / "part.json").write_text(json.dumps(ask_again(folder, f"verify drives/c {known}")))
    ask("verify", f"verify drives/a {known} --part part.json", *range(7))
    _received(folder, ask, known)
    _fleet(folder, ask)
    _train(folder, ask)
    rot = partial(_flip, folder)
    rot("a")
    ask("repair", f"repair drives/* {known}")
    (folder / "drives/b/sealift/stray").touch()
    (folder / "new").mkdir()
    ask("repair", f"repair drives/a drives/b drives/c {known} --onto new --allow-same-filesystem")
    rot("a"), rot("c")  # both drives of one group, in the first block of one stripe
    ask("verify", f"verify drives/* {known} --final", 4)
    ask("repair", f"repair drives/* {known}", 4)
    ask("unpack", f"unpack drives/* {opened} --to restored", 4)
    ask("unpack", f"unpack drives/b {opened} --to partly", 6)
    ask("ingest", f"ingest drives/* {opened} --to ingested", 4)
    ask("ingest", f"ingest drives/b {opened} --to ingested-partly", 6)
    shell(folder, "mkdir -p copied/g0s0/sealift && echo mine > copied/g0s0/sealift/B3SUMS")
    ask("ingest --packs", f"ingest drives/* --packs {known} --to copied", 4)
    ask("ingest --packs", f"ingest drives/b --packs {known} --to copied-partly", 6)
    (folder / "noise").mkdir()
    for number in range(32):  # what does not compress fills stripes, and so has something to rot
        (folder / f"noise/{number:02d}").write_bytes(os.urandom(300_000))
    ask("rehearse", "rehearse noise --scene rot --scene withheld")
    ask("rehearse", "rehearse noise --plan shipment.toml --scene everything")


def _received(folder, ask, known):
    """One group in full and half of the other, of that one drive only looked at; then everything."""
    kinds = {"tove": "receipt", "anna": "source-release"}
    with (folder / "signers").open("a") as file:
        for who, kind in kinds.items():
            key = (folder / f"{who}_key.pub").read_text()
            file.write(f'{who}@example.com namespaces="sealift-{kind}" {key}')
    tove = '--sign-with tove_key --by "Tove Dock" --organisation Petrel --contact tove@petrel.example'
    anna = "--sign-with anna_key --organisation Kittiwake --contact anna@kittiwake.example"
    name = "SL-2026-EXAMPLE.receipt.json"
    for file, command in {"a": "verify drives/a", "b": "inspect drives/b", "all": "verify drives/*"}.items():
        (folder / f"{file}.json").write_text(json.dumps(ask_again(folder, f"{command} {known}")))
    ask("receipt", f"receipt a.json b.json {known} {tove}", 6)
    ask("source-release", f"source-release {name} {known}", 6)
    ask("receipt", f"receipt all.json {known} {tove}")
    for by in ("Anna", "Annabel"):  # the second supersedes the first
        ask("source-release", f"source-release {name} {known} {anna} --by {by}")
    shell(folder, f"cp {name} bad.json; cp {name}.sig bad.json.sig; echo >> bad.json")
    ask("source-release", f"source-release bad.json {known}", 5)


def _fleet(folder, ask):
    """A host with drives of which one is rotten, and verified, one is gone, and one cannot say which it is."""
    known = "--seal sent/*.seal --allowed-signers signers"
    shutil.copytree(folder / "drives", folder / "served")
    for pack in (folder / "served/a/sealift/packs/0000").iterdir():
        data = bytearray(pack.read_bytes())
        data[min(300, len(data) - 1)] ^= 1
        pack.write_bytes(data)
    report = ask_again(folder, f"verify {folder}/served/a {folder}/served/b {known}")
    (folder / "verified.json").write_text(json.dumps(report))
    shutil.rmtree(folder / "served/d/sealift")
    mounts = [folder / "served" / name for name in "abcd"]
    with serving.serving(*mounts, cwd=folder, reports=("verified.json",)) as host:
        ask("fleet", f"fleet {host.url} http://127.0.0.1:1 {known}", *range(7))
        (folder / "served/c/sealift/drive.json").write_text("rotten")
        (folder / "served/c/sealift/manifest.json").write_text("rotten")
        ask("fleet", f"fleet {host.url} {known}", *range(7))
        ask("fleet", f"fleet {host.url}", *range(7))


def _train(folder, ask):
    ask("train --new", "train form-of-a-run.toml --new")
    (folder / "run.toml").write_text(f"""
        out = "run"
        data = {{ drives = ["drives/a"], identity = ["identity.txt"], allowed_signers = "signers", seal = "{
        next(folder.glob("sent/*.seal"))
    }" }}
        model = {{ layers = 1, heads = 1, width = 8, block = 16 }}
        training = {{ steps = 1, batch = 1, device = "cpu" }}
    """)
    ask("train", "train run.toml")
    ask("train", "train run.toml")  # again: it goes on, and is done
    ask("train --measure-stall", "train run.toml --measure-stall 1")


def ask_again(folder, command):
    return json.loads(
        shell(folder, f"export SEALIFT_ALLOWED_SIGNERS=$PWD/signers; sealift {command} --json", *range(7))
    )


def _flip(folder, drive):
    for pack in sorted((folder / "drives" / drive / "sealift/packs/0000").iterdir())[:2]:  # of more it would be made
        data = bytearray(pack.read_bytes())
        data[min(300, len(data) - 1)] ^= 1
        pack.write_bytes(data)
