"""A chain as `workermanager check` draws it."""

from instrumentation.chains import Instrumentation
from instrumentation.commands import Command
from instrumentation.composing import branch, chain, compensate, each, finally_, group, on_error
from instrumentation.steps import Retry, Step
from workermanager.cli.tree import draw, is_plain
from workermanager.limits import Limit
from workermanager.outline import outline


def company(ctx, params):
    pass


def user(ctx, params):
    pass


async def picture(ctx, params):
    pass


def outline_of(*parts):
    return outline("it", Instrumentation(func_dispatcher=parts, func_name="it").nodes())


def drawn(*parts, **options):
    return "\n".join(draw(outline_of(*parts), **options))


def test_a_tree_has_the_numbers_of_paths_and_the_names_of_figures():
    text = drawn(
        Step(company, retry=Retry(attempts=3, deadline=5)),
        group(picture, Step(user, limit=Limit("payments", 5)), most=2),
        each(user, over="users", name="all", item="user", errors="collect", into="them"),
        finally_(company),
    )
    assert text == (
        "it\n"
        "├─ 1 company       up to 3 attempts in 5s\n"
        "├─ 2 group         2 at once\n"
        "│  ├─ 1 picture    async\n"
        "│  └─ 2 user       limit payments (5 at once)\n"
        "├─ 3 all           each, over users, as user, 16 at once, collects errors, into them\n"
        "│  └─ * user#2\n"
        "└─ 4 finally\n"
        "   └─ 1 company#2"
    )


def test_a_tree_says_what_members_are_for():
    text = drawn(
        branch(company, chain(user, user, name="two"), compensate(user, company)),
        on_error(chain(user, name="three", timeout=2), user, when=OSError),
    )
    assert text == (
        "it\n"
        "├─ 1 branch\n"
        "│  ├─ 0 company       if\n"
        "│  ├─ 1 two           then, chain\n"
        "│  │  ├─ 1 user\n"
        "│  │  └─ 2 user#2\n"
        "│  └─ 2 compensate    otherwise\n"
        "│     ├─ 1 user#3\n"
        "│     └─ 2 company#2  undo\n"
        "└─ 2 on_error         when OSError\n"
        "   ├─ 1 three         chain, timeout 2s\n"
        "   │  └─ 1 user#4\n"
        "   └─ 2 user#5        handler"
    )


def test_a_second_group_is_known_to_be_one_by_its_name():
    assert "2 group#2\n" in drawn(group(user), group(user))


def test_what_is_so_unless_set_is_not_said():
    text = drawn(on_error(each(user, over="users"), company))
    for quiet in ("as item", "raise", "Exception"):
        assert quiet not in text


def test_a_terminal_without_lines_gets_a_tree_all_the_same():
    text = drawn(group(user, Step(company, timeout=0.000_1)), user, is_ascii=True)
    assert text == ("it\n|- 1 group\n|  |- 1 user\n|  `- 2 company  timeout 100us\n`- 2 user#2")


def test_a_long_name_moves_its_own_settings_and_no_others():
    name = "a" * 60
    lines = draw(outline_of(Step(user, timeout=1), Step(user, name=name, timeout=2)))
    assert lines[1:] == ["├─ 1 user  timeout 1s", f"└─ 2 {name}  timeout 2s"]


def test_wide_characters_keep_the_column():
    lines = draw(outline_of(Step(user, name="会社", timeout=1), Step(user, name="user", timeout=2)))
    assert lines[1:] == ["├─ 1 会社  timeout 1s", "└─ 2 user  timeout 2s"]


def test_a_deep_tree_is_drawn_to_its_end():
    part = user
    for _ in range(90):
        part = group(part)
    lines = draw(outline_of(part))
    assert len(lines) == 92
    assert lines[-1] == "   " * 90 + "└─ 1 user"


def test_a_name_with_a_slash_has_the_number_that_it_has():
    assert "└─ 1 a/2/b" in drawn(Step(user, name="a/2/b"))


def test_names_are_on_one_line_and_have_no_control_characters():
    outline = outline_of(Step(user, name="plain"), group(user))
    outline["parts"][0]["name"] = "a\nb \x1b[31mred"  # a Step refuses it; a limit's name may be so
    lines = draw(outline)
    assert lines[1] == r"├─ 1 a b \x1b[31mred"


def test_a_chain_is_plain_if_it_is_steps_that_are_only_called():
    assert is_plain(outline_of(company, user, user))
    for part in (group(user), Step(user, timeout=1), picture, chain(user, name="named")):
        assert not is_plain(outline_of(company, part))


def test_a_tree_says_which_program_a_command_runs():
    text = drawn(user, Step(Command("convert", "a"), "resize", retry=Retry(attempts=3)))
    assert text == ("it\n├─ 1 user\n└─ 2 resize  runs convert, up to 3 attempts")
