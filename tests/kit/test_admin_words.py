"""What `create-admin-user` and create_user print, and the credentials in it."""

import pytest

from tests.kit.conftest import load

admin = load("roles/riak_cs/library/riak_cs_admin_user.py")


@pytest.mark.parametrize(
    ("text", "credentials", "existed"),
    [
        (
            (
                "An admin user already exists, with these creds:\n"
                "  KeyId: BVYWFCWBF6HBZWOVO26D\n Secret: ADMIN-SECRET_==\nok\n"
            ),
            ("BVYWFCWBF6HBZWOVO26D", "ADMIN-SECRET_=="),
            True,
        ),
        ('{ok,{rcs_user_v2,"admin","admin","a@b.c","KEY-1","SECRET==","id",[],enabled}}', ("KEY-1", "SECRET=="), False),
        ('{ok,{rcs_user_v2,"ad\\"min","admin",\n   "a@b.c","KEY-1","S","id",[],enabled}}', ("KEY-1", "S"), False),
        ("{error,user_already_exists}", None, True),
        ("escript: exception error\n", None, False),
    ],
)
def test_words(text, credentials, existed):
    assert admin.read_credentials(text) == credentials
    assert admin.exists_already(text) is existed
