"""Where proxies reach the tools gateway."""

from stat import S_IMODE

from turnwise.tools_gateway.link.path import SocketPath


def test_a_missing_folder_is_made_for_this_user_alone(tmp_path):
    place = tmp_path / "run" / "tools.sock"
    path = SocketPath(str(place))
    path.listen().close()
    assert [S_IMODE(each.stat().st_mode) for each in (place.parent, place)] == [0o700, 0o600]
    path.remove()
    assert not place.exists()
