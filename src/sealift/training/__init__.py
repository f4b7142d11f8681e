"""The reference trainer: a small GPT that reads a shipment where it stands, stops, and goes on exactly.

    config.py        what a run is, from TOML: every problem named at once
    model.py         the GPT, in plain PyTorch
    data.py          from samples to sequences of tokens; where the run stands in the shipment; health of the drives
    distributed.py   one process or many: DDP, FSDP2, and what they agree on
    checkpoint.py    whole, or not there: written beside, durable, renamed, and counted file by file
    log.py           loss and rates, as JSON lines and for TensorBoard
    stall.py         how long training waits for data
    train.py         the loop that brings these together
    ray.py           the same loop as workers of Ray Train

What holds: a run that was stopped, or killed, and started again has the same loss curve as one that was not, bit by bit
on a CPU at the same number of ranks. What is not here: anything of drives, packs and keys (reading/).
"""
