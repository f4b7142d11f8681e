"""Packing: scan, deal, build, code, write, sign.

run.py       all of it in order, and again after a crash
fleet.py     which drive is which, and which group it is dealt to
scan.py      the source, ordered and (deal.py) dealt to groups, on disk
room.py      whether it fits
queue.py     the ordered units (units.py) of a group, handed out to builders
workers.py   the builders as processes, and the memory that they share
builder.py   a process: units -> (stream.py) tar -> zstd -> age -> slabs in shared memory
group.py     a group: builders, parity, n writers, commits; follow.py digests what several builders share
journal.py   what is committed, in SQLite; copies.py keeps copies of it on the drives, durable.py its files
close.py     index, manifest, signature; openme.py the text on every drive
"""
