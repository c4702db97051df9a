"""Programs on the admin port: told ones behind the real API, and those of a whole proxy."""

import asyncio

import msgspec
import pytest
from aiohttp.test_utils import make_mocked_request
from tests.integration.admin_port import WALL, admin, waiting_for_a_tool
from tests.page.stories import HOSTILE, NOW, Told, ToldPrograms, secrets, several

from turnwise.engines.sim.tool_choice import HEADER_TOOL_CALLS
from turnwise.proxy.admin.program_page import ProgramPage
from turnwise.proxy.admin.programs import ProgramsApi
from turnwise.proxy.programs.pauses import Left, Source
from turnwise.proxy.programs.values import Outcome, Summary, Waiting
from turnwise.proxy.workers.pages import merged_programs
from turnwise.settings import Settings


async def test_programs_that_wait_for_tools_say_how_long_yet():
    programs = several()
    waiting = next(one for one in programs.told.values() if one.summary.waiting)
    waiting.waits = ((Waiting("c", "look", 0, 10, NOW - 1.25), Left(2.5, Source.INFERRED)),)
    async with admin(programs) as http:
        found = (await http.get("/programs")).json()["programs"]
        one = (await http.get(f"/programs/{waiting.key.id}")).json()
    assert {row["id"]: row["remaining_s"] for row in found if row["remaining_s"] is not None} == {waiting.key.id: 2.5}
    (wait,) = one["waiting"]
    assert (wait["tool"], wait["step"], wait["remaining_s"], wait["source"]) == ("look", None, 2.5, "inferred")
    assert wait["since"] == pytest.approx(NOW - 1.25 - one["program"]["started_at"] + WALL - NOW)


async def listed(http, **query):
    answer = await http.get("/programs", params=query)
    assert answer.status_code == 200, answer.text
    return [program["name"] or program["session"] or "-" for program in answer.json()["programs"]]


async def test_the_list_is_that_of_the_programs_in_their_order():
    async with admin(several()) as http:
        answer = (await http.get("/programs")).content
        assert msgspec.json.decode(answer, type=dict[str, list[Summary]])["programs"] == several().listing(
            NOW, None, WALL - NOW
        )
        assert (await http.get("/v1/programs")).content == answer


async def test_filters_choose_and_the_limit_holds():
    async with admin(several()) as http:
        assert await listed(http, state="live") == [
            "nightly-review",
            "fix-flaky-test",
            "0d6be1a2-77c1-4c9e-9f50-5a1d2b7a8e11",
        ]
        assert await listed(http, state="ended") == ["migrate-config", "-", HOSTILE]
        assert await listed(http, session="s-40") == ["fix-flaky-test"]
        assert await listed(http, session="s-40", state="ended") == []
        assert await listed(http, tenant="somebody else") == []
        assert len(await listed(http, tenant="t" * 12)) == 6
        assert await listed(http, limit="1") == ["nightly-review"]
        assert await listed(http, limit="0") == []


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ("limit=-1", "limit"),
        ("limit=many", "limit"),
        ("limit=1e3", "limit"),
        ("limit=%D9%A3", "limit"),
        ("limit=12345678901", "limit"),
        ("limit=", "limit"),
        ("state=alive", "state"),
        ("state=", "state"),
        ("sesion=s-40", "sesion"),
    ],
)
async def test_a_query_that_means_nothing_is_refused_by_the_name_of_its_field(query, param):
    async with admin(several()) as http:
        answer = await http.get(f"/programs?{query}")
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == param
    assert f"`{param}`" in answer.json()["error"]["message"]


async def test_one_program_has_its_account_its_rows_and_its_calls():
    async with admin(several()) as http:
        answer = await http.get("/programs/migrate-config")
    page = msgspec.json.decode(answer.content, type=ProgramPage)
    assert page.program.outcome is Outcome.ANSWERED
    assert sum(page.ledger.causes.values()) == pytest.approx(page.ledger.makespan_s)
    assert [call["call_id"] for call in page.calls][-1] == "answer"
    assert page.calls[0]["times"]["arrived"] == page.ledger.started_at == page.ledger.path[0].start == page.rows[0].start_s == 0
    assert page.ledger.path[-1].end == pytest.approx(page.calls[-1]["times"]["ended"]) == pytest.approx(page.ledger.makespan_s)
    times = {"times": page.calls[-3]["times"]["arrived"], "attempts": page.calls[-3]["attempts"][0]["sent"]}
    assert times == pytest.approx({"times": 5.0, "attempts": 5.002})
    assert page.calls[1]["runs"][0]["started_at"] == pytest.approx(1.345)
    assert page.calls[0]["max_tokens"] is None
    assert page.program.started_at == WALL - 70
    (link,) = page.calls[2]["links"]
    assert (link["kind"], link["call_id"]) == ("spawn", "read")
    by_depth = [(row.depth, row.id) for row in page.rows if row.kind == "call"]
    assert by_depth == [
        (0, "plan"),
        (0, "read"),
        (1, "s1-a"),
        (1, "s1-b"),
        (1, "s2-a"),
        (1, "s2-b"),
        (1, "s3-a"),
        (0, "merge"),
        (0, "answer"),
    ]


async def test_a_live_program_is_accounted_for_up_to_now():
    async with admin(several()) as http:
        live = (await http.get("/programs/nightly-review")).json()["ledger"]["makespan_s"]
        ended = (await http.get("/programs/migrate-config")).json()["ledger"]["makespan_s"]
    assert live == pytest.approx(NOW - 1_005.0)
    assert ended < NOW - 940.0


async def test_a_program_is_found_by_its_id_and_by_a_name_with_any_letters():
    awkward = "a/b c?d=é%2F"
    programs = ToldPrograms(Told(awkward, 900.0, 1), Told(HOSTILE, 930.0, 1))
    async with admin(programs) as http:
        for told in programs.told.values():
            for name in (told.key.id, told.key.name):
                path = "/programs/" + "".join(f"%{byte:02X}" for byte in name.encode())
                assert (await http.get(path)).json()["program"]["id"] == told.key.id


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_an_unknown_program_is_a_404_that_says_so(method):
    async with admin(several()) as http:
        path = "/programs/nobody" + ("/end" if method == "POST" else "")
        answer = await http.request(method, path)
        long = await http.request(method, path.replace("nobody", "n" * 5_000))
    assert answer.status_code == long.status_code == 404
    assert answer.json()["error"]["param"] == "id"
    assert "`nobody`" in answer.json()["error"]["message"]
    assert len(long.content) < 500


@pytest.mark.parametrize(("method", "path"), [("GET", "/programs/secret"), ("POST", "/programs/secret/end")])
async def test_a_name_of_several_tenants_is_a_409_that_tells_them_and_the_tenant_chooses(method, path):
    programs = secrets()
    async with admin(programs) as http:
        refused = await http.request(method, path)
        chosen = await http.request(method, path, params={"tenant": "b" * 12})
        unknown = await http.request(method, path, params={"tenant": "nobody"})
        misspelt = await http.request(method, path, params={"tenent": "b" * 12})
    one, other = programs.told
    error = refused.json()["error"]
    assert (refused.status_code, error["param"]) == (409, "id")
    assert error["programs"] == [{"id": one, "tenant": "a" * 12}, {"id": other, "tenant": "b" * 12}]
    assert chosen.status_code == 200
    assert other in chosen.text
    assert one not in chosen.text
    assert programs.told[one].summary.outcome is Outcome.OPEN
    assert (unknown.status_code, misspelt.status_code) == (404, 400)


async def test_a_program_is_ended_once_and_then_says_how():
    async with admin(several()) as http:
        first = await http.post("/programs/nightly-review/end")
        second = await http.post("/v1/programs/nightly-review/end")
        other = await http.post("/programs/migrate-config/end")
    assert [answer.status_code for answer in (first, second, other)] == [200, 200, 200]
    assert first.json() == second.json() | {"outcome": "asked"}
    assert other.json()["outcome"] == "answered"


async def test_where_programs_are_not_told_apart_it_says_which_setting_is_off():
    async with admin(None) as http:
        for path in ("/programs", "/programs/x"):
            answer = await http.get(path)
            assert answer.status_code == 404
            assert answer.json()["error"]["param"] == "programs.enabled"


async def test_a_wrong_limit_of_calls_names_its_field_too():
    async with admin(None) as http:
        answer = await http.get("/v1/calls?limit=x")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "limit")


def test_a_program_that_two_workers_know_is_one_as_the_one_has_it_that_knows_most_of_its_calls():
    mine, theirs = (msgspec.to_builtins(several().listing(NOW)) for _ in range(2))
    mine[0]["quiet_s"] = 0.75
    theirs = [theirs[0] | {"quiet_s": 0.5, "calls": 9, "outcome": "asked"}, *theirs[4:]]
    merged = merged_programs({0: mine, 3: theirs}, 10)
    assert merged[0]["id"] == mine[0]["id"]
    assert merged[0]["workers"] == [0, 3]
    assert (merged[0]["quiet_s"], merged[0]["calls"], merged[0]["outcome"]) == (0.5, 9, "asked")
    assert len(merged) == len(mine)
    assert [program["quiet_s"] for program in merged] == sorted(program["quiet_s"] for program in merged)
    assert merged_programs({0: mine, 3: theirs}, 2) == merged[:2]
    behind = [mine[0] | {"quiet_s": 0.25, "calls": 0}]
    assert merged_programs({0: mine, 3: behind}, 1)[0]["calls"] == mine[0]["calls"]


def test_a_proxy_tells_of_the_programs_that_its_calls_make(world, virtually):
    async def scenario():
        async with world(2) as proxy:
            messages = [{"role": "user", "content": "find the bug and mend it, " * 60}]
            for number in range(3):
                wanted = ((HEADER_TOOL_CALLS.encode(), b"0" if number == 2 else b"1"),)
                tool = {"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}
                body = {"model": "sim", "messages": messages, "max_tokens": 64, "tools": [tool]}
                answer = (await proxy.call(body, headers=wanted)).json()["choices"][0]["message"]
                called = answer.get("tool_calls") or ()
                messages.append(answer)
                messages += [{"role": "tool", "tool_call_id": call["id"], "content": "done " * 40} for call in called]
                await asyncio.sleep(1.0)
            api = ProgramsApi(Settings(), proxy.programs, proxy.index, proxy.fleet, clock=proxy.clock)
            listed = msgspec.json.decode((await api.get_programs(make_mocked_request("GET", "/programs"))).body)["programs"]
            names = {"id": listed[0]["id"]}
            page = await api.get_program(make_mocked_request("GET", "/programs/x", match_info=names))
            ended = await api.post_end(make_mocked_request("POST", "/programs/x/end", match_info=names))
            return listed, msgspec.json.decode(page.body, type=ProgramPage), msgspec.json.decode(ended.body)

    listed, page, ended = virtually(scenario())
    assert [program["calls"] for program in listed] == [3]
    assert [row.kind for row in page.rows if row.kind != "gap"] == ["call", "tool", "call", "tool", "call"]
    assert page.ledger.ftr_s is not None
    (held,) = page.graph.held
    assert max(hit.tokens for hit in held.replicas.values()) > 0
    assert sum(block.tokens for block in page.graph.blocks) > 0
    assert ended == {"program": listed[0]["id"], "outcome": "asked", "calls": 3}


@pytest.mark.parametrize(
    ("method", "path", "status", "param"),
    [
        ("GET", "/nothing", 404, "path"),
        ("GET", "/programs/a/b", 404, "path"),
        ("PUT", "/programs", 405, "method"),
        ("GET", "/tool-runs", 405, "method"),
    ],
)
async def test_what_is_not_there_is_said_in_json_too(method, path, status, param):
    async with admin(several()) as http:
        answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["error"]["param"]) == (status, param)
    assert path in answer.json()["error"]["message"]
    assert (status == 405) == ("allow" in answer.headers)


async def test_a_body_that_is_too_large_is_said_in_json_too():
    async with admin(waiting_for_a_tool()) as http:
        answer = await http.post("/tool-runs", content=b" " * (1024 * 1024 + 1))
    assert (answer.status_code, answer.json()["error"]["param"]) == (413, "body")


@pytest.mark.parametrize("origin", ["https://elsewhere.example", "http://127.0.0.1:1", "null", "http://[", ""])
async def test_a_page_of_another_host_cannot_change_anything(origin):
    async with admin(waiting_for_a_tool("goal")) as http:
        for path in ("/programs/goal/end", "/v1/replicas/gpu-a/drain", "/tool-runs"):
            answer = await http.post(path, headers={"origin": origin}, json=[])
            assert (answer.status_code, answer.json()["error"]["param"]) == (403, "origin")
        assert await listed(http, state="live") == ["goal"]
        assert not (await http.get("/v1/replicas", headers={"origin": origin})).json()["replicas"][0]["is_draining"]


async def test_the_ports_own_page_may_act():
    async with admin(waiting_for_a_tool("goal")) as http:
        origin = str(http.base_url).rstrip("/")
        assert (await http.post("/programs/goal/end", headers={"origin": origin})).status_code == 200


@pytest.mark.parametrize("path", ["/programs", "/v1/calls", "/metrics"])
async def test_one_process_has_no_workers_to_ask(path):
    async with admin(several()) as http:
        answer = await http.get(path, params={"worker": "0"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "worker")
