"""The form that `sealift train --new` writes; a test holds that it has every key, with the value it has by default."""

TEMPLATE = """\
# A training run: sealift train FILE. The same command again goes on where it stopped.
# Paths are as from the folder of this file. What is commented out has the value shown.

out = "run"                       # checkpoints/, log.jsonl, tensorboard/ and final/; all ranks see this folder

[data]
drives = ["/mnt/*"]               # mounts, addresses, locations files, in any order; up to m of a group may be missing
identity = ["key.txt"]            # opens the shipment: age identity files or OpenSSH keys
# keys = ""                       # or what sealift unlock issued to this job, whose own identity stands above then
allowed_signers = "signers"       # whose signatures count, in ssh-keygen's format
seal = "0123456789abcdef.seal"    # as the origin sent it; "": the one on the drives
# tokens = "bytes"                # what text is: "bytes", or token files: "uint16", "uint32" (little-endian)
# file = ""                       # of a sample, what its name has after the key: "txt"; "": its first file by name
# files = ""                      # or "tokens/*.bin": files of nothing but tokens; each block of them is a sample
# workers = 2                     # reading processes a rank; may change when the run goes on

[model]                           # a GPT; none of this may change when the run goes on
# layers = 6
# heads = 6
# width = 384
# block = 512                     # tokens of a sequence; a sample gives one sequence an epoch
# vocabulary = 256                # of token files: one more than the largest token
# dropout = 0.0

[training]
# steps = 1000
# batch = 64                      # sequences a step, of all ranks together; may not change, nor may seed
# micro_batch = 0                 # sequences a rank takes at a time, to need less memory; 0: all its share
# seed = 1
# lr = 0.001
# min_lr = 0.0001                 # where the cosine ends, after `steps`
# warmup = 100                    # steps
# weight_decay = 0.1
# clip = 1.0                      # the norm of the gradient; 0: as it is
# device = "auto"                 # "cpu", "cuda"; auto: a GPU where there is one
# precision = "auto"              # "bf16", "fp32"; auto: bf16 on a GPU that has it
# parallel = "ddp"                # of several ranks: "ddp", or "fsdp" for a model that fits no single GPU
# compile = false                 # torch.compile
# checkpoint_every = 500          # steps
# keep = 3                        # checkpoints
# log_every = 10                  # steps
"""
