"""Downloads from a server on this machine: resumed, cut off, slow, wrong, missing."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from lit_cifar.data.sources.download import DownloadError, Patience, download

PATIENT = Patience(silence=5)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cifar-10-python.tar.gz"


@pytest.fixture
def part(target: Path) -> Path:
    return target.with_name(target.name + ".part")


def test_whole_file(serve, fake, target, part) -> None:
    server = serve()
    download([server.url], target, fake.archive.md5)
    assert target.read_bytes() == fake.content
    assert server.asked == [0]
    assert not part.exists()


def test_partial_file_is_continued_from_its_end(serve, fake, target, part) -> None:
    server = serve()
    part.write_bytes(fake.content[:1000])
    download([server.url], target, fake.archive.md5)
    assert target.read_bytes() == fake.content
    assert server.asked == [1000]


def test_server_that_cannot_resume_sends_everything_again(serve, fake, target, part) -> None:
    server = serve(ranges=False)
    part.write_bytes(fake.content[:1000])
    download([server.url], target, fake.archive.md5)
    assert target.read_bytes() == fake.content


def test_complete_partial_file_needs_no_server(fake, target, part) -> None:
    part.write_bytes(fake.content)
    download(["http://127.0.0.1:9/nobody"], target, fake.archive.md5)
    assert target.read_bytes() == fake.content


def test_partial_file_longer_than_the_real_one_is_replaced(serve, fake, target, part) -> None:
    server = serve()
    part.write_bytes(bytes(len(fake.content) + 10))
    download([server.url], target, fake.archive.md5)
    assert target.read_bytes() == fake.content
    assert server.asked == [len(fake.content) + 10, 0]


def test_connection_cut_off_twice_goes_on_where_it_was(serve, fake, target) -> None:
    server = serve(cuts=[1000, 2000])
    download([server.url], target, fake.archive.md5)
    assert target.read_bytes() == fake.content
    assert server.asked == [0, 1000, 3000]


def test_cut_off_for_good_keeps_what_came(serve, fake, target, part) -> None:
    server = serve(cuts=[1000, 0, 0])
    with pytest.raises(DownloadError, match=f"cut off, {len(fake.content) - 1000} bytes before the end"):
        download([server.url], target, fake.archive.md5, [PATIENT])
    assert part.read_bytes() == fake.content[:1000]
    assert not target.exists()


def test_server_that_always_cuts_at_the_same_place_is_given_up(serve, fake, target) -> None:
    server = serve(ranges=False, cuts=[1000] * 100)
    with pytest.raises(DownloadError, match="cut off"):
        download([server.url], target, fake.archive.md5, [PATIENT])
    assert len(server.asked) == 2


def test_wrong_content_is_removed_and_the_next_address_used(serve, fake, target, part) -> None:
    wrong, right = serve(content=b"<html>please log in</html>"), serve()
    download([wrong.url, right.url], target, fake.archive.md5)
    assert target.read_bytes() == fake.content
    assert right.asked == [0]


def test_wrong_content_everywhere_leaves_nothing_behind(serve, fake, target, part) -> None:
    wrong = serve(content=b"<html>please log in</html>")
    with pytest.raises(DownloadError, match="is not the official file"):
        download([wrong.url], target, fake.archive.md5)
    assert not part.exists()
    assert not target.exists()


def test_every_address_is_named_with_its_problem(serve, fake, target) -> None:
    missing, broken = serve(status=404), serve(status=503)
    with pytest.raises(DownloadError) as failure:
        download([missing.url, broken.url, "http://127.0.0.1:9/nobody"], target, fake.archive.md5)
    lines = str(failure.value).splitlines()
    assert len(lines) == 3
    assert missing.url in lines[0]
    assert "404" in lines[0]
    assert "503" in lines[1]
    assert "Connection refused" in lines[2]
    assert missing.asked == [0]


def test_silent_server_is_left(serve, fake, target) -> None:
    silent, right = serve(pause=3), serve()
    start = time.monotonic()
    download([silent.url, right.url], target, fake.archive.md5, [Patience(silence=0.2)])
    assert time.monotonic() - start < 2
    assert target.read_bytes() == fake.content


def test_slow_server_is_left_for_a_fast_one_which_goes_on(serve, fake, target) -> None:
    slow, fast = serve(piece=100, pause=0.01), serve()
    start = time.monotonic()
    download([slow.url, fast.url], target, fake.archive.md5, [Patience(silence=5, total=1, trial=0.2)])
    assert time.monotonic() - start < 1
    assert target.read_bytes() == fake.content
    assert 0 < fast.asked[0] < len(fake.content)


def test_slow_server_is_used_in_the_end_if_no_other_works(serve, fake, target) -> None:
    slow, missing = serve(piece=2000, pause=0.01), serve(status=404)
    quick = Patience(silence=5, total=0.1, trial=0.05)
    download([slow.url, missing.url], target, fake.archive.md5, [quick, PATIENT])
    assert target.read_bytes() == fake.content
    assert slow.asked[0] == 0
    assert slow.asked[1] > 0
    assert len(missing.asked) == 1


def test_too_slow_says_how_slow(serve, fake, target, part) -> None:
    slow = serve(piece=100, pause=0.01)
    with pytest.raises(DownloadError, match=r"too slow: \d+ more minutes at \d+ kB/s"):
        download([slow.url], target, fake.archive.md5, [Patience(silence=5, total=0.5, trial=0.1)])
    assert fake.content.startswith(part.read_bytes())


def test_nothing_but_plain_lines_is_written_where_there_is_no_terminal(serve, fake, target, capfd) -> None:
    download([serve().url], target, fake.archive.md5)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("Downloading http://127.0.0.1:")
    assert err.count("\n") == 1
    assert "\x1b" not in err
