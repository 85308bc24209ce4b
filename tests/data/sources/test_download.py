"""Downloads from a server on this machine: resumed, cut off, slow, wrong, missing."""

from __future__ import annotations

import os
import re
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from lit_cifar.data.sources.download import DownloadError, File, Patience, download

PATIENT = Patience(silence=5)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "cifar-10-python.tar.gz"


@pytest.fixture
def part(tmp_path: Path) -> Path:
    return tmp_path / "own" / "some.part"


@pytest.fixture(autouse=True)
def own_folder(part: Path) -> None:
    part.parent.mkdir()


@pytest.fixture
def wanted(fake) -> File:
    return File(fake.archive.md5, fake.archive.size)


def test_whole_file(serve, fake, target, wanted, part) -> None:
    server = serve()
    download([server.url], target, wanted, part)
    assert target.read_bytes() == fake.content
    assert server.asked == [0]
    assert not part.exists()


def test_partial_file_is_continued_from_its_end(serve, fake, target, wanted, part) -> None:
    server = serve()
    part.write_bytes(fake.content[:1000])
    download([server.url], target, wanted, part)
    assert target.read_bytes() == fake.content
    assert server.asked == [1000]


def test_server_that_cannot_resume_sends_everything_again(serve, fake, target, wanted, part) -> None:
    server = serve(ranges=False)
    part.write_bytes(fake.content[:1000])
    download([server.url], target, wanted, part)
    assert target.read_bytes() == fake.content


def test_complete_partial_file_needs_no_server(fake, target, wanted, part) -> None:
    part.write_bytes(fake.content)
    download(["http://127.0.0.1:9/nobody"], target, wanted, part)
    assert target.read_bytes() == fake.content


def test_partial_file_longer_than_the_real_one_is_replaced(serve, fake, target, wanted, part) -> None:
    server = serve()
    part.write_bytes(bytes(len(fake.content) + 10))
    download([server.url], target, wanted, part)
    assert target.read_bytes() == fake.content
    assert server.asked == [0]


def test_connection_cut_off_twice_goes_on_where_it_was(serve, fake, target, wanted, part) -> None:
    server = serve(cuts=[1000, 2000])
    download([server.url], target, wanted, part)
    assert target.read_bytes() == fake.content
    assert server.asked == [0, 1000, 3000]


def test_cut_off_for_good_keeps_what_came(serve, fake, target, wanted, part) -> None:
    server = serve(cuts=[1000, 0, 0])
    with pytest.raises(DownloadError, match=f"cut off, {len(fake.content) - 1000} bytes before the end"):
        download([server.url], target, wanted, part, [PATIENT])
    assert part.read_bytes() == fake.content[:1000]
    assert not target.exists()


def test_server_that_always_cuts_at_the_same_place_is_given_up(serve, fake, target, wanted, part) -> None:
    server = serve(ranges=False, cuts=[1000] * 100)
    with pytest.raises(DownloadError, match="cut off"):
        download([server.url], target, wanted, part, [PATIENT])
    assert len(server.asked) == 2


def test_wrong_content_is_removed_and_the_next_address_used(serve, fake, target, wanted, part) -> None:
    wrong, right = serve(content=bytes(len(fake.content))), serve()
    download([wrong.url, right.url], target, wanted, part)
    assert target.read_bytes() == fake.content
    assert right.asked == [0]


def test_wrong_content_everywhere_leaves_nothing_behind(serve, fake, target, wanted, part) -> None:
    wrong = serve(content=bytes(len(fake.content)))
    with pytest.raises(DownloadError, match="is not the official file"):
        download([wrong.url], target, wanted, part)
    assert not part.exists()
    assert not target.exists()


def test_every_address_is_named_with_its_problem(serve, fake, target, wanted, part) -> None:
    missing, broken = serve(status=404), serve(status=503)
    with pytest.raises(DownloadError) as failure:
        download([missing.url, broken.url, "http://127.0.0.1:9/nobody"], target, wanted, part)
    lines = str(failure.value).splitlines()
    assert len(lines) == 3
    assert missing.url in lines[0]
    assert "404" in lines[0]
    assert "503" in lines[1]
    assert "Connection refused" in lines[2]
    assert missing.asked == [0]


def test_silent_server_is_left(serve, fake, target, wanted, part) -> None:
    silent, right = serve(pause=3), serve()
    start = time.monotonic()
    download([silent.url, right.url], target, wanted, part, [Patience(silence=0.2)])
    assert time.monotonic() - start < 2
    assert target.read_bytes() == fake.content


def test_slow_server_is_left_for_a_fast_one_which_goes_on(serve, fake, target, wanted, part) -> None:
    slow, fast = serve(piece=100, pause=0.01), serve()
    start = time.monotonic()
    download([slow.url, fast.url], target, wanted, part, [Patience(silence=5, total=1, trial=0.2)])
    assert time.monotonic() - start < 1
    assert target.read_bytes() == fake.content
    assert 0 < fast.asked[0] < len(fake.content)


def test_slow_server_is_used_in_the_end_if_no_other_works(serve, fake, target, wanted, part) -> None:
    slow, missing = serve(piece=2000, pause=0.01), serve(status=404)
    quick = Patience(silence=5, total=0.1, trial=0.05)
    download([slow.url, missing.url], target, wanted, part, [quick, PATIENT])
    assert target.read_bytes() == fake.content
    assert slow.asked[0] == 0
    assert slow.asked[1] > 0
    assert len(missing.asked) == 1


def test_too_slow_says_how_slow(serve, fake, target, wanted, part) -> None:
    slow = serve(piece=100, pause=0.01)
    with pytest.raises(DownloadError, match=r"too slow: \d+ more minutes at \d+ kB/s"):
        download([slow.url], target, wanted, part, [Patience(silence=5, total=0.5, trial=0.1)])
    assert fake.content.startswith(part.read_bytes())


def test_without_a_terminal_nothing_but_plain_lines_is_written(serve, fake, target, capfd, wanted, part) -> None:
    download([serve().url], target, wanted, part)
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("Downloading http://127.0.0.1:")
    assert err.count("\n") == 1
    assert "\x1b" not in err


@pytest.mark.parametrize("habits", [{}, {"says_length": False}], ids=["with its length", "without"])
def test_a_body_that_does_not_end_does_not_fill_the_disk(serve, fake, target, wanted, part, habits) -> None:
    endless = serve(content=bytes(50 * len(fake.content)), **habits)
    right = serve()
    with pytest.raises(DownloadError, match=r"it (offers|sends more than)"):
        download([endless.url], target, wanted, part)
    assert not part.exists()
    download([endless.url, right.url], target, wanted, part)
    assert target.read_bytes() == fake.content


def test_a_page_that_asks_to_log_in_is_left_at_once(serve, target, wanted, part) -> None:
    page = serve(content=b"<html>please log in</html>")
    with pytest.raises(DownloadError, match=r"it offers 26 bytes, and the official file has \d+"):
        download([page.url], target, wanted, part)
    assert page.asked == [0]


def test_a_byte_a_connection_is_too_slow(serve, fake, target, wanted, part) -> None:
    dripping = serve(cuts=[1] * 100_000)
    start = time.monotonic()
    with pytest.raises(DownloadError, match="too slow"):
        download([dripping.url], target, wanted, part, [Patience(silence=5, total=1, trial=0.2)])
    assert time.monotonic() - start < 3


def test_headers_that_drip_are_left(target, wanted, part) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def drip() -> None:
            connection, _ = server.accept()
            with connection, suppress(OSError):
                for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100:
                    connection.sendall(bytes([byte]))
                    time.sleep(0.05)

        threading.Thread(target=drip, daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/cifar-10-python.tar.gz"
        start = time.monotonic()
        with pytest.raises(DownloadError, match="no answer within"):
            download([url], target, wanted, part, [Patience(silence=0.3)])
        assert time.monotonic() - start < 2


def test_a_slow_address_says_how_long_it_will_take(serve, target, wanted, part, capfd) -> None:
    slow = serve(piece=100, pause=0.1, cuts=[600, 0])
    with pytest.raises(DownloadError, match="cut off"):
        download([slow.url], target, wanted, part, [Patience(silence=5, trial=0.3)])
    assert re.search(r"gives \d kB/s: about \d minutes\.\n", capfd.readouterr().err)


def test_the_fastest_of_slow_addresses_is_used(serve, fake, target, wanted, part) -> None:
    slowest, faster = serve(piece=10, pause=0.2), serve(piece=1000, pause=0.02)
    quick = Patience(silence=5, total=0.01, trial=0.25)
    download([slowest.url, faster.url], target, wanted, part, [quick, PATIENT])
    assert target.read_bytes() == fake.content
    assert (len(slowest.asked), len(faster.asked)) == (1, 2)


def test_all_addresses_together_have_one_deadline(target, wanted, part) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=20) as silent:  # it accepts connections and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/cifar-10-python.tar.gz"
        start = time.monotonic()
        with pytest.raises(DownloadError):
            download(
                [f"{url}?{number}" for number in range(10)], target, wanted, part, [Patience(silence=0.2, total=0.5)]
            )
        assert time.monotonic() - start < 1.5  # ten times 0.2 s is 2 s


@pytest.mark.skipif(os.name == "nt", reason="links need a permission there")
def test_links_in_the_folder_are_not_followed(serve, fake, tmp_path, target, wanted, part) -> None:
    (tmp_path / "precious").write_text("mine")
    for name in (target.name, f"{target.name}.part"):
        (tmp_path / name).symlink_to(tmp_path / "precious")
    download([serve().url], target, wanted, part)
    assert (tmp_path / "precious").read_text() == "mine"
    assert target.read_bytes() == fake.content
    assert not target.is_symlink()
