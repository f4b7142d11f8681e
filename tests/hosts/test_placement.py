"""Where work is placed: on the very node it is given for, whatever happens there."""

import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import placed_work
import pytest

from sealift.errors import BadInput, Interrupted, NotAllHere, SealiftError
from sealift.stages import placement, placement_words
from sealift.stages.placement import HERE, Ears, Gone, place
from sealift.stages.placement_runner import POLL, Runner


class Heard(Ears):
    def __init__(self):
        self.items, self.told, self.ended = [], [], []

    def heard(self, _host, _unit, progress, items):
        self.items += items
        self.told += [] if progress is None else [progress]

    def came(self, _host, unit, answer):
        self.ended.append((unit, answer))


def test_in_this_process_work_is_called(monkeypatch):
    monkeypatch.setenv("HOME", "/here")
    ears = Heard()
    with place(None) as here:
        assert here.hosts() == [HERE]
        ((host, answer),) = here.run(placed_work.echo, {HERE: 5}, ears)
    assert (host, answer[:2], ears.items, ears.told) == (HERE, (5, "/here"), [5], [5])
    with pytest.raises(BadInput):
        place(None).run(placed_work.fail, {HERE: "sealift"}, ears)


def test_a_unit_runs_on_its_node_and_is_heard(cluster, hosts):
    ears, every = Heard(), hosts.hosts()
    assert {host.key for host in every} == {cluster.name("a"), cluster.name("b")}, "not the head, without the resource"
    answers = hosts.run(placed_work.echo, {host: host.name for host in every}, ears)
    again = hosts.run(placed_work.echo, dict.fromkeys(every, "again"), Ears())
    homes = {host.key: answer[1] for host, answer in answers}
    assert homes == {cluster.name(name): str(cluster.home(name)) for name in ("a", "b")}
    assert sorted(ears.items) == sorted(host.name for host in every)
    assert {answer[2] for _, answer in again} == {answer[2] for _, answer in answers}, "processes are used again"


@pytest.mark.long
def test_what_goes_wrong_on_one_host_is_its_answer(cluster, hosts):
    a, b = hosts.hosts()
    ((_, error),) = hosts.run(placed_work.fail, {a: "sealift"}, Ears())
    assert (type(error), str(error), error.hint) == (BadInput, "no", "never")
    ((_, error),) = hosts.run(placed_work.fail, {b: "other"}, Ears())
    assert isinstance(error, SealiftError)
    assert "ZeroDivisionError" in str(error)
    ears = Heard()
    answers = hosts.run(placed_work.fail, {a: "end", b: "sealift"}, ears)
    assert {host: type(answer) for host, answer in answers} == {a: Gone, b: BadInput}
    assert len(hosts.run(placed_work.echo, {a: 1, b: 1}, Ears())) == 2, "the host itself is well"


def test_a_unit_asks_and_is_answered(cluster, hosts):
    class Answering(Heard):
        def asked(self, _host, _unit, question):
            if question == 3:
                raise BadInput("not three")
            return question * 2

    begun = time.monotonic()
    answers = hosts.run(placed_work.ask, dict.fromkeys(hosts.hosts(), 200), Answering())
    expected = ["not three" if number == 3 else number * 2 for number in range(200)]
    assert [answer for _, answer in answers] == [expected, expected]
    assert time.monotonic() - begun < 60, "no answer waits for the next look"
    with place(None) as here:
        assert here.run(placed_work.ask, {HERE: 2}, Answering()) == [(HERE, [0, 2])]


def _cut(pid):
    """Reset every connection of a process; whether this system can."""
    listed = subprocess.run(["ss", "-tnpH"], capture_output=True, text=True, check=True).stdout
    ends = [line.split()[3:5] for line in listed.splitlines() if f"pid={pid}," in line]
    for here, there in ends:
        subprocess.run(["ss", "-K", "src", here, "dst", there], capture_output=True, check=False)
    left = subprocess.run(["ss", "-tnpH"], capture_output=True, text=True, check=True).stdout
    return bool(ends) and not any(here in left and there in left for here, there in ends)


@pytest.mark.skipif(shutil.which("ss") is None, reason="ss is not installed")
def test_a_reset_connection_loses_no_host_and_nothing_that_was_said(cluster, hosts):
    class Cutting(Heard):
        questions, could = 0, False

        def heard(self, host, unit, progress, items):
            before = len(self.items)
            super().heard(host, unit, progress, items)
            if before < 10 <= len(self.items):
                self.could = _cut(self.items[0])

        def asked(self, _host, _unit, question):
            self.questions += 1
            return f"an {question}"

    (cluster.home("a") / "worked").unlink(missing_ok=True)
    a, _ = sorted(hosts.hosts(), key=lambda host: host.key != cluster.name("a"))
    ears = Cutting()
    ((_, answer),) = hosts.run(placed_work.work_on, {a: 30}, ears)
    assert answer == "an answer"
    assert (ears.items[1:], ears.questions) == (list(range(30)), 1)
    assert (cluster.home("a") / "worked").read_text() == "once\n"
    if not ears.could:
        pytest.skip("this kernel resets no connections")


def test_a_unit_that_has_ended_is_not_waited_for(monkeypatch):
    """Whoever has its answer waits for the last look: with POLL each step of a stage would take twice that."""
    waits, wait = [], threading.Condition.wait

    def noted(condition, timeout=None):
        if condition is runner._change:
            waits.append(timeout)
        return wait(condition, timeout)

    monkeypatch.setattr(threading.Condition, "wait", noted)
    runner = Runner()
    runner.run("1", placed_work.echo, 5)
    assert runner.look("1", 0, 0)[2] == [5]
    assert sum(waits) < POLL / 2


def test_what_a_unit_says_can_be_had_once_more_and_it_is_done_once(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    runner, answers = Runner(), []
    calls = [
        threading.Thread(target=lambda: answers.append(runner.run("1", placed_work.work_on, 2)), daemon=True)
        for _ in range(3)
    ]
    for call in calls:
        call.start()
        time.sleep(0.02)
    while (said := runner.look("1", 0, 0))[3] is None:
        pass
    assert said[1:] == runner.look("1", 0, 0)[1:], "nobody said that it has arrived"
    assert (said[1], said[2][1:], said[3]) == (0, [0, 1], (1, "answer"))
    assert runner.look("1", 2, 1)[1:] == (2, [1], (1, "answer"))
    assert runner.look("1", 1, 1)[1:] == (2, [1], (1, "answer")), "asked before, and heard later"
    runner.reply(0, "of another")
    runner.reply(1, 5)
    for call in calls:
        call.join(5)
    assert [each[0] for each in answers].count(5) == 2, "who began it, and who asked last"
    assert runner.run("1", placed_work.work_on, 2) == (5, None, 2, [1])
    assert (tmp_path / "worked").read_text() == "once\n"
    assert runner.look("2", 7, 0) == (None, 7, [], None), "before it begins"
    with pytest.raises(ZeroDivisionError):
        runner.run("3", placed_work.fail, "other")
    with pytest.raises(ZeroDivisionError):
        runner.run("3", placed_work.fail, "other")


def test_a_worker_that_stays_away_is_ended_before_its_drives_are_free(monkeypatch):
    monkeypatch.setattr(placement, "AWAY", 0.5)

    class Ray:
        exceptions = SimpleNamespace(
            RayError=(error := type("RayError", (Exception,), {})),
            RayActorError=(actor := type("RayActorError", (error,), {})),
            ActorUnavailableError=type("ActorUnavailableError", (actor,), {}),
            OutOfMemoryError=type("OutOfMemoryError", (error,), {}),
        )
        killed, calls = 0, 0

        def wait(self, refs, **_):
            return refs, []

        def get(self, _ref, **_):
            raise self.exceptions.RayActorError if self.killed else self.exceptions.ActorUnavailableError

        def kill(self, _actor):
            self.killed += 1

        def remote(self, *_):
            self.calls += 1
            return object()

    ray = Ray()
    ears, actor = Heard(), SimpleNamespace(run=ray, look=ray, reply=ray)
    running = placement._Running(ray, ears, lambda *_: pytest.fail("it is not used again"))
    running.add(HERE, actor, placed_work.echo, 1)
    begun = time.monotonic()
    while not (came := running.wait()):
        assert time.monotonic() - begun < 10
    assert came == [(HERE, Gone("its worker could not be reached for 120 s, and was ended"))]
    assert (ray.killed, ray.calls < 20) == (1, True), "it is asked a few times a second"


def test_ctrl_c_here_stops_the_work_there(cluster, hosts):
    class Stopping(Heard):
        def heard(self, _host, _unit, progress, _items):
            if not self.told:
                self.told.append(progress)
                raise KeyboardInterrupt

    ears = Stopping()
    with pytest.raises(KeyboardInterrupt):
        hosts.run(placed_work.wait, dict.fromkeys(hosts.hosts()), ears)
    assert [type(answer) for _, answer in ears.ended] == [Interrupted, Interrupted]
    assert ears.told == ["waiting"]


def test_where_all_storage_hosts_died_no_other_node_is_asked():
    def node(key, **resources):
        return {"Alive": True, "Resources": resources, "NodeName": key, "NodeManagerAddress": "::", "NodeID": key}

    there = place("head:1")
    there._usable = {placement.Host(name, name) for name in ("head", "a")}
    there._ray = SimpleNamespace(nodes=lambda: [node("head"), node("a", sealift=1)])
    assert [host.name for host in there.hosts()] == ["a"]
    there._ray = SimpleNamespace(nodes=lambda: [node("head")])
    with pytest.raises(NotAllHere):
        there.hosts()


@pytest.mark.long
def test_a_node_with_another_sealift_is_left_out(cluster, monkeypatch):
    monkeypatch.setattr(placement, "__version__", "9.9")
    notices = []
    with place(cluster.address, notices.append) as there, pytest.raises(NotAllHere, match="no node of this cluster"):
        there.hosts()
    assert len([text for text in notices if "it has sealift 0.1.0, and this is 9.9" in text]) == 2


def test_what_answers_nothing_or_is_no_cluster_is_told_at_once(monkeypatch):
    monkeypatch.setattr(placement_words, "_KNOCK", 1.0)

    def refused(at):
        begun, notices = time.monotonic(), []
        with pytest.raises(BadInput) as told, _fresh(at, notices.append):
            pass
        assert time.monotonic() - begun < 20
        assert f"connecting to the Ray cluster at {at}" in notices
        assert told.value.hint
        return str(told.value)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = f"127.0.0.1:{silent.getsockname()[1]}"
        assert refused(at) == f"--ray {at}: nobody answers at {at} (it did not answer)"
    assert refused(at) == f"--ray {at}: nobody answers at {at} (Connection refused)"
    with HTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as other:
        threading.Thread(target=other.serve_forever, daemon=True).start()
        assert "is no Ray cluster" in refused(f"127.0.0.1:{other.server_port}")
        other.shutdown()
    assert "nobody answers at .." in refused("..:6379")
    for at in ("head", "head:", "head:70000", ":-1", ":6379", "head:" + "9" * 5000):
        assert "is no address of a cluster" in refused(at)


def _fresh(at, notice):
    """As in a process that has not joined a cluster."""
    there = place(at, notice)
    there._ray = SimpleNamespace(init=lambda **_: pytest.fail("it is not tried"))
    there.__class__ = type("Unjoined", (type(there),), {"__enter__": lambda self: self._join() or self})
    return there


def test_a_refusal_of_rays_is_one_sentence():
    token = ConnectionError("Failed to connect")
    token.__context__ = RuntimeError("RPC error: InvalidAuthToken: Authentication token is missing or incorrect")
    assert placement_words.refusal(token)[0] == "the token is missing or incorrect"
    passed_on = ConnectionAbortedError(
        'from server:\n\nTraceback (most recent call last):\n  File "x"\nRuntimeError: why'
    )
    assert placement_words.refusal(passed_on)[0] == "RuntimeError: why"
    nowhere = ConnectionError("Could not find any running Ray instance. Please specify the one to connect to by ...")
    assert placement_words.refusal(nowhere)[0] == "this machine is no node of a Ray cluster"
    mismatch = RuntimeError(
        "Version mismatch: The cluster was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\nThis process on node"
        " 10.1.0.1 was started with:\n    Ray: 2.59.0\n    Python: 3.12.1\n"
    )
    why = "the cluster runs Ray 2.60.0 and Python 3.11.7, and this is Ray 2.59.0 and Python 3.12.1"
    assert placement_words.refusal(mismatch)[0] == why


@pytest.mark.long
def test_a_unit_that_does_not_answer_is_told_and_again_when_it_does(cluster, hosts, monkeypatch):
    monkeypatch.setattr(placement, "SILENT", 1.0)

    told = []

    class Listening(Heard):
        def silent(self, host, _unit, seconds):
            told.append((host, seconds and seconds > 1.0))

    a, b = hosts.hosts()
    answers = dict(hosts.run(placed_work.freeze, {a: 3, b: 0}, Listening()))
    assert answers == {a: "thawed", b: "thawed"}
    assert [each for each in told if each[0] == a] == [(a, True), (a, None)]


def test_no_ray_and_no_cluster_are_told(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(BadInput, match="Ray, which is not installed"), place("auto"):
        pass


def test_a_signal_is_ours_though_ray_takes_it(cluster):
    """Ray would print a stack of its own and abort."""
    code = (
        "import os, signal, sys, time\n"
        "from sealift.stages.placement import place\n"
        "signal.signal(signal.SIGTERM, lambda *_: (print('ours', flush=True), os._exit(7)))\n"
        "with place(sys.argv[1]) as there:\n"
        "    there.hosts()\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    time.sleep(10)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, cluster.address],
        check=False,
        env={**os.environ, **cluster.environment},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout) == (7, "ours\n"), done.stderr
