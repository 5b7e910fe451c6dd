"""Broken twins of P11: a secret shows."""

from tests.twins.twin import Twin

_TESTS = "tests/acceptance/test_secrets.py::"
_PRINTED = _TESTS + "test_neither_key_nor_password_is_printed_or_stored"

TWINS = [
    Twin(
        name="what a server says of the key is passed on",
        promise="P11",
        file="etl/extractors/client.py",
        find="body.replace(self._secret.encode(), HIDDEN.encode()))\n",
        replace="body)\n",
        caught_by="tests/acceptance/test_secrets.py::"
        "test_a_key_of_the_old_form_is_hidden_in_what_a_server_says",
    ),
    Twin(
        name="an address with the key in it is passed on",
        promise="P11",
        file="etl/extractors/client.py",
        find="v.replace(self._secret, HIDDEN)",
        replace="v",
        caught_by=_PRINTED + "[redirected to an address with the key in it-as usual]",
    ),
    Twin(
        name="the log is not redacted",
        promise="P11",
        file="etl/logs.py",
        find="            redactor,\n",
        replace="",
        caught_by=_TESTS + "test_a_secret_that_turns_up_in_the_data_is_not_logged",
    ),
    Twin(
        name="redirects are followed with the key",
        promise="P11",
        file="etl/extractors/client.py",
        find="allow_redirects=False",
        replace="allow_redirects=True",
        caught_by=_TESTS + "test_the_key_never_travels_to_the_target_of_a_redirect[307]",
    ),
]
