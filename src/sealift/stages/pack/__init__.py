"""Packing: scan, deal, build, code, write, sign.

options.py   what the user asked for, checked against mounts, declaration and keys
scan.py      the source, ordered and dealt to groups, on disk
queue.py     the ordered units of a group, handed out to builders
builder.py   a process: units -> tar -> zstd -> age -> slabs in shared memory
group.py     a group: builders, parity, n writers, commits
journal.py   what is committed, in SQLite
close.py     index, manifest, signature
run.py       all of it in order, and again after a crash
"""
