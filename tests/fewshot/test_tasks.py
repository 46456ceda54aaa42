from __future__ import annotations

import numpy as np
import pytest

from app.errors import Invalid
from app.fewshot.augment import distorted, noisy
from app.fewshot.tasks import Pool
from tests.fewshot.problems import clusters, images, lines


def rows_of(x: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in x.reshape(-1, *x.shape[2:])}


def test_a_task_has_so_many_examples_of_so_many_classes_and_none_twice() -> None:
    episodes = clusters().draw(np.random.default_rng(0), 4, ways=5, shots=2, queries=3)
    assert episodes.support_x.shape == (4, 10, 6)
    assert episodes.query_x.shape == (4, 15, 6)
    for task in range(4):
        assert sorted(episodes.support_y[task]) == sorted([*range(5)] * 2)
        assert sorted(episodes.query_y[task]) == sorted([*range(5)] * 3)
        support, query = (rows_of(part[task : task + 1]) for part in (episodes.support_x, episodes.query_x))
        assert len(support) == 10
        assert len(query) == 15
        assert not support & query


def test_examples_come_from_the_class_that_their_label_says() -> None:
    pool = clusters(n_classes=4, spread=0.0)  # every example is its class's centre
    episodes = pool.draw(np.random.default_rng(1), 3, ways=4, shots=1, queries=2)
    for x, y, queries, labels in zip(*episodes, strict=True):
        for query, label in zip(queries, labels, strict=True):
            np.testing.assert_array_equal(query, x[list(y).index(label)])


def test_the_same_seed_draws_the_same_tasks() -> None:
    first, again, other = (clusters().draw(np.random.default_rng(seed), 2, 3, 1, 1) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first.query_x, again.query_x)
    assert not np.array_equal(first.query_x, other.query_x)


def test_a_turned_class_is_another_class() -> None:
    pool = images(n_classes=2)
    turned = pool.with_rotations()
    assert turned.n_classes == 8
    episodes = turned.draw(np.random.default_rng(0), 1, ways=8, shots=1, queries=1)
    upright = {image.tobytes() for image in pool.x.astype(np.float32)}
    back = [{np.rot90(x, -turn).tobytes() for turn in range(4)} for x in episodes.support_x[0]]
    assert all(candidates & upright for candidates in back)
    assert sum(x.tobytes() in upright for x in episodes.support_x[0]) == 2


def test_a_mirrored_class_is_another_class_and_turns_too() -> None:
    pool = images(n_classes=2)
    mirrored = pool.with_mirrors().with_rotations()
    assert mirrored.n_classes == 16
    episodes = mirrored.draw(np.random.default_rng(0), 1, ways=16, shots=1, queries=1)
    upright = {image.tobytes() for image in pool.x.astype(np.float32)}
    seen = set()
    for x in episodes.support_x[0]:
        back = {
            (is_mirrored, turn): np.rot90(x[:, ::-1] if is_mirrored else x, -turn)
            for is_mirrored in (False, True)
            for turn in range(4)
        }
        seen |= {key for key, image in back.items() if np.ascontiguousarray(image).tobytes() in upright}
    assert len(seen) == 8


def test_vectors_cannot_be_mirrored() -> None:
    with pytest.raises(Invalid, match="images"):
        clusters().with_mirrors()


def test_vectors_cannot_be_turned() -> None:
    with pytest.raises(Invalid, match="square images"):
        clusters().with_rotations()


def test_a_regression_task_keeps_to_one_task() -> None:
    pool = lines()
    episodes = pool.draw(np.random.default_rng(0), 3, ways=1, shots=5, queries=4)
    for x, y, queries, values in zip(*episodes, strict=True):
        slope, start = np.polyfit(x[:, 0], y, 1)
        np.testing.assert_allclose(slope * queries[:, 0] + start, values, atol=1e-4)  # float32


@pytest.mark.parametrize(("ways", "shots"), [(13, 1), (2, 8)])
def test_too_much_is_refused_in_words(ways: int, shots: int) -> None:
    with pytest.raises(Invalid, match=r"of 13 classes|needs 9 examples"):
        clusters().draw(np.random.default_rng(0), 1, ways, shots, queries=1)


def test_scarce_classes_can_be_left_out() -> None:
    pool = Pool.of(np.zeros((5, 2), np.float32), [np.array([0, 1, 2]), np.array([3, 4])])
    assert pool.without_scarce(3).n_classes == 1


def test_a_distortion_moves_an_image_a_little() -> None:
    image = np.zeros((20, 28, 28), np.float32)
    image[:, 10:18, 10:18] = 1.0
    moved = distorted(image, np.random.default_rng(0))
    assert moved.shape == image.shape
    assert len({one.tobytes() for one in moved}) == 20
    grid = np.arange(28.0)
    for one in moved:
        assert abs((one.sum(axis=1) @ grid) / one.sum() - 13.5) < 0.08 * 28 + 1
        assert 0.5 < one.sum() / 64 < 2.0


def test_noise_is_a_tenth_of_a_deviation() -> None:
    noise = noisy(np.zeros((100, 100), np.float32), np.random.default_rng(0))
    assert noise.std() == pytest.approx(0.1, rel=0.05)
