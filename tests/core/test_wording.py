"""What a verdict leaves out, and what may be missing from a result."""

from sample_result import sample_result

from freeatten_core import wording


def yarn_row(result):
    return next(row for row in result["variants"] if row["variant"] == "softmax+yarn")


def with_yarn(**changes):
    result = sample_result(["softmax", "softmax+yarn"])
    yarn_row(result).update({"verdict": "uses"} | changes)
    return result


def test_a_modifier_that_loses_to_the_plain_model_restarted_says_so():
    result = with_yarn()
    result["variants"][0]["restart_loss"] = 1.5
    yarn_row(result)["loss"][-1] = 2.25
    assert "1.500 against 2.250" in wording.caveat(result, yarn_row(result))


def test_a_modifier_that_wins_needs_no_caveat():
    result = with_yarn()
    result["variants"][0]["restart_loss"] = 99.0
    assert wording.caveat(result, yarn_row(result)) == ""


def test_a_restart_that_is_not_finite_is_no_reason_to_fail():
    result = with_yarn()
    result["variants"][0]["restart_loss"] = None
    assert wording.plain_restart(result, yarn_row(result)) is None
    assert wording.caveat(result, yarn_row(result)) == ""


def test_a_plain_row_has_no_caveat():
    result = with_yarn()
    assert wording.caveat(result, result["variants"][0]) == ""
