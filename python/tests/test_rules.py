"""Rules of one's own: what `invoke` makes of what a rule says, and how the host runs them."""

from __future__ import annotations

import io
import json
import textwrap

import pytest
from wheeltapper import _rule_host
from wheeltapper.rules import Observation, Rule


class Says(Rule):
    def __init__(self, base_trial, answer=None):
        super().__init__(base_trial)
        self.answer = answer

    def invoke_at_step(self, step):
        return self.answer


@pytest.mark.parametrize("nothing", [None, False, 0, [], ""])
def test_nothing_wrong_is_nothing_said(nothing):
    assert Says(None, nothing).invoke(3) == []


def test_true_a_text_an_observation_and_lists_of_them_are_taken():
    assert Says(None, True).invoke(3)[0].message == "Says holds at step 3"
    assert Says(None, "too large").invoke(3)[0].message == "too large"
    found = Says(None, ["a", Observation(message="b", tensor="fc.weight")]).invoke(3)
    assert [observation.message for observation in found] == ["a", "b"]
    assert found[1].as_dict() == {"message": "b", "tensor": "fc.weight"}


def test_what_is_reported_counts_once_even_with_true_returned():
    class Reports(Rule):
        def invoke_at_step(self, step):
            self.report("large", tensor="w", fix="clip", severity="error")
            return True

    rule = Reports(None)
    for _ in range(2):
        assert [observation.message for observation in rule.invoke(1)] == ["large"]


def test_an_unknown_severity_is_an_error():
    with pytest.raises(ValueError, match="severity"):
        Observation(message="m", severity="bad")


def test_scripts_written_for_smdebug_may_pass_other_trials_second():
    class Old(Rule):
        def invoke_at_step(self, step):
            return False

    assert Old("base", ["other"]).trials == ["base", "other"]
    assert Old("base", "", ["other"]).trials == ["base", "other"]
    assert Old("base", '{"name": "stoptraining"}').other_trials == []


class _Trial:
    def refresh(self):
        pass


def serve(tmp_path, monkeypatch, source, requests, class_name="R", run="run", **parameters):
    (tmp_path / "rule.py").write_text("import wheeltapper\n" + textwrap.dedent(source))
    monkeypatch.setattr(_rule_host.wheeltapper, "open", lambda path: _Trial())
    greeting = {"file": str(tmp_path / "rule.py"), "class": class_name, "run": run, "parameters": parameters}
    answers = []
    lines = "".join(json.dumps(line) + "\n" for line in [greeting, *requests])
    _rule_host.serve(io.StringIO(lines), answers.append)
    return answers


def test_the_host_answers_each_step_with_typed_parameters(tmp_path, monkeypatch):
    answers = serve(
        tmp_path,
        monkeypatch,
        """
        class R(wheeltapper.Rule):
            def __init__(self, base_trial, limit, flag, name):
                super().__init__(base_trial)
                assert (limit, flag, name) == (2.5, True, "abc")

            def invoke_at_step(self, step):
                return step == 7
        """,
        [{"step": 6}, {"step": 7}],
        limit="2.5",
        flag="true",
        name="abc",
    )
    assert answers == [
        {"ready": True},
        {"done": 6, "observations": []},
        {"done": 7, "observations": [{"message": "R holds at step 7"}]},
    ]


def test_a_step_at_which_something_was_not_recorded_is_passed_over_and_keeps_what_was_reported(tmp_path, monkeypatch):
    source = """
        from wheeltapper.errors import NotFoundError

        class R(wheeltapper.Rule):
            def invoke_at_step(self, step):
                if step == 1:
                    self.report("before")
                if step < 2:
                    raise NotFoundError("not recorded")
                return step == 2
        """
    answers = serve(tmp_path, monkeypatch, source, [{"step": 0}, {"step": 1}, {"step": 2}])
    assert answers[1:] == [
        {"done": 0, "observations": [], "passed_over": "not recorded"},
        {"done": 1, "observations": [{"message": "before"}], "passed_over": "not recorded"},
        {"done": 2, "observations": [{"message": "R holds at step 2"}]},
    ]


def test_the_host_tells_an_exception_with_its_place(tmp_path, monkeypatch):
    source = """
        class R(wheeltapper.Rule):
            def invoke_at_step(self, step):
                return 1 / 0
        """
    answers = serve(tmp_path, monkeypatch, source, [{"step": 0}])
    assert answers[-1] == {"error": "ZeroDivisionError: division by zero (rule.py:5)"}


def test_the_host_lists_the_rules_of_a_file_where_there_is_no_run(tmp_path, monkeypatch):
    source = """
        class Base(wheeltapper.Rule):
            pass

        class B(Base):
            def invoke_at_step(self, step):
                pass

        class A(Base):
            def invoke_at_step(self, step):
                pass
        """
    assert serve(tmp_path, monkeypatch, source, [], class_name="", run="") == [{"ready": True, "rules": ["B", "A"]}]


def test_the_host_says_which_class_it_did_not_find(tmp_path, monkeypatch):
    (answer,) = serve(tmp_path, monkeypatch, "x = 1", [], class_name="Missing")
    assert 'no class "Missing"' in answer["error"]
