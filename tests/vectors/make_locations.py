"""Writes tests/vectors/locations/: locations files, right ones and one wrong one a rule (docs/spec/locations.md).

The first line of each is a comment: `# expect: good`, or words of the fault. Run it to write them again.
"""

from __future__ import annotations

import pathlib

HEAD = b'type = "sealift-locations"\nversion = 1\n'
ENV = 'token_env = "SEALIFT_TOKEN"\n'
WEB = b'[[drive]]\nname = "a"\nat = "https://host.example:8443/d01/"\n'


def at(address: str, more: str = "") -> bytes:
    return HEAD + f'[[drive]]\nat = "{address}"\n{more}'.encode()


def vectors() -> dict[str, tuple[str, bytes]]:
    """Name -> what is expected, and the file."""
    page = pathlib.Path(__file__).parents[2] / "docs" / "spec" / "locations.md"
    example = page.read_text().partition("```toml\n")[2].partition("```")[0].encode()
    return {
        "example": ("good", example),
        "least": ("good", at("/mnt/d01")),
        "folder_and_bucket": ("good", at("mnt/d 01") + b'[[drive]]\nat = "s3://bucket/a/b"\n'),
        "v6": ("good", at("http://[::1]:80")),
        "not_toml": ("not TOML", HEAD + b"[[drive\n"),
        "not_utf8": ("not UTF-8", HEAD + b'[[drive]]\nat = "/mnt/\xff"\n'),
        "other_type": ("type: must be sealift-locations", WEB.join([b'type = "sealift-plan"\nversion = 1\n', b""])),
        "other_version": ("version: must be 1", HEAD.replace(b"1", b"2") + WEB),
        "empty": ("type: missing", b""),
        "unknown_key": ("drive[1].tokenfile: no such field", HEAD + WEB + b'tokenfile = "t"\n'),
        "requests_zero": ("requests: expected a whole number >= 1", HEAD + b"requests = 0\n" + WEB),
        "requests_many": ("requests: expected a whole number <= 256", HEAD + b"requests = 257\n" + WEB),
        "no_drive": ("not one [[drive]] is in it", HEAD + b"drive = []\n"),
        "no_at": ("drive[1].at: missing", HEAD + b'[[drive]]\nname = "a"\n'),
        "name_long": ("drive[1].name: letters, digits", at("https://h", f'name = "{"a" * 65}"\n')),
        "name_slash": ("drive[1].name: letters, digits", at("https://h", 'name = "a/b"\n')),
        "name_twice": ("drive[2].name: drive[1] has it, too", HEAD + WEB + b'[[drive]]\nname = "a"\nat = "https://other"\n'),
        "at_twice": ("drive[2].at: drive[1] has it, too", HEAD + WEB + WEB.replace(b'"a"', b'"b"')),
        "folder_named": ("drive[1].name: a folder is called by its path", at("/mnt/a", 'name = "a"\n')),
        "at_user": ("has a user or a password before its host", at("https://me:hush@host/d/")),
        "at_query": ("not of the form http(s)://HOST[:PORT]/PATH", at("https://host/d/?token=hush")),
        "at_dots": ("not of the form http(s)://HOST[:PORT]/PATH", at("https://host/a/../b")),
        "at_empty_part": ("not of the form http(s)://HOST[:PORT]/PATH", at("https://host//b")),
        "at_percent": ("not of the form http(s)://HOST[:PORT]/PATH", at("https://host/a%2fb")),
        "at_port": ("not of the form http(s)://HOST[:PORT]/PATH", at("https://host:65536/a")),
        "at_host": ("not of the form http(s)://HOST[:PORT]/PATH", at("https://ho st/a")),
        "at_scheme": ("at: neither http(s)://, s3:// nor a folder", at("ftp://host/a")),
        "token_in_line": ("drive[1].token: no such field", at("https://host/a", 'token = "hush"\n')),
        "token_twice": ("token_file says where it is already", at("https://h", f'token_file = "t"\n{ENV}')),
        "token_of_s3": ("token_file: only for http:// and https://", at("s3://bucket/a", 'token_file = "t"\n')),
        "token_of_folder": ("token_env: only for http:// and https://", at("/mnt/a", ENV)),
        "ca_of_http": ("ca_file: only for https://", at("http://h/", 'ca_file = "t"\n')),
        "env_name": ("drive[1].token_env: SEALIFT_TOKEN, or", at("http://h/", ENV.replace("SEALIFT", "SECRET"))),
    }  # fmt: skip


def main(folder: pathlib.Path) -> None:
    """Write them."""
    folder.mkdir(exist_ok=True)
    for name, (expected, data) in vectors().items():
        (folder / name).write_bytes(f"# expect: {expected}\n".encode() + data)


if __name__ == "__main__":
    main(pathlib.Path(__file__).parent / "locations")
