"""What learning curves of small models say in a table."""

from freeatten_core.results.tasks import learning_blocks

RECIPE = {"steps": 3000, "train_length": 256, "seed": 0}


def run(task, variant, *losses):
    curve = [{"step": step, "validation": loss} for step, loss in enumerate(losses)]
    made = {"recipe": RECIPE, "learning_rate": 0.01, "command": f"freeatten train --task {task}"}
    return {"task": task, "variant": variant, "curve": curve, **made}


RESULT = {
    "date": "2026-01-02",
    "commit": "ab" * 20,
    "device": "a GPU",
    "torch": "2.11",
    "guesses": {"mqar": 8.3178, "passkey": 2.3026},
    "runs": [
        run("mqar", "softmax", 6.0, 0.0007),
        run("passkey", "softmax", 0.7, 0.0),
        run("mqar", "lssar:p=15", 8.2, 6.84),
    ],
}


def test_a_cell_is_the_last_loss_and_what_was_not_trained_is_missing():
    table = learning_blocks("tasks/learned", RESULT)["tasks/learned table"]
    assert [line.strip("| ").split(" | ") for line in table.splitlines()[2:]] == [
        ["`softmax`", "0.001", "0.000"],
        ["`lssar:p=15`", "6.840", "–"],
    ]
    assert "mqar, of 8.32 | passkey, of 2.30" in table.splitlines()[0]


def test_it_says_how_they_were_trained():
    said = learning_blocks("x", RESULT)["x provenance"]
    assert "3,000 steps at 256 tokens, learning rate 0.01, seed 0" in said
    assert "a GPU, torch 2.11, 2026-01-02, commit ababababab: `freeatten train --task mqar`" in said
