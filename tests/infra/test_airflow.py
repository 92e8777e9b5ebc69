"""Airflow's configuration and programs, from a layout."""

import configparser
import json
from pathlib import Path

from infra.local.airflow import NAMES, SECRETS, USERS, airflow_cfg, airflow_programs
from infra.local.configs import supervisord_conf
from infra.local.layout import Layout
from infra.local.place import layout_of

KEYS = {name: f"the {name}" for name in SECRETS}


def _layout(root: str = "/srv/stack") -> Layout:
    return layout_of(root)


def _read(layout: Layout) -> configparser.ConfigParser:
    parser = configparser.ConfigParser(interpolation=None)
    parser.read_string(airflow_cfg(layout, KEYS))
    return parser


def test_it_listens_on_loopback_only_and_knows_its_own_address() -> None:
    layout = _layout()
    read = _read(layout)
    assert (read["api"]["host"], read["api"]["port"]) == ("127.0.0.1", str(layout.ports.airflow))
    assert read["core"]["execution_api_server_url"] == f"http://127.0.0.1:{layout.ports.airflow}/execution/"


def test_each_person_has_a_role_and_a_password_file_that_is_the_stacks_own() -> None:
    read = _read(_layout())
    said = dict(pair.split(":") for pair in read["core"]["simple_auth_manager_users"].split(","))
    assert said == USERS
    assert set(USERS.values()) == {"admin", "op", "viewer"}
    assert read["core"]["simple_auth_manager_passwords_file"].startswith("/srv/stack/secrets/")


def test_its_secrets_stand_in_its_configuration_and_in_no_program_that_others_may_read() -> None:
    layout = _layout()
    text = airflow_cfg(layout, KEYS)
    programs = airflow_programs(layout)
    shown = supervisord_conf(layout, programs) + str(programs)
    for secret in KEYS.values():
        assert secret in text
        assert secret not in shown


def test_its_dags_are_those_of_this_checkout() -> None:
    layout = _layout()
    [bundle] = json.loads(_read(layout)["dag_processor"]["dag_bundle_config_list"])
    assert Path(bundle["kwargs"]["path"]) == layout.repo / "dags"


def test_its_programs_start_only_when_they_are_asked_for() -> None:
    programs = airflow_programs(_layout())
    assert tuple(program.name for program in programs) == NAMES
    assert all(program.on_request for program in programs)


def test_another_configuration_makes_another_program_so_that_it_starts_again() -> None:
    one, same, other = (airflow_programs(_layout(root))[0] for root in ("/srv/stack", "/srv/stack", "/srv/another"))
    assert one == same
    key = "TOKENLEDGER_AIRFLOW_SETTINGS"
    assert one.environment[key] == same.environment[key] != other.environment[key]
