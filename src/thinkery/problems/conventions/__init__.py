"""The ways in which data sets write problems, one object each.

| convention | needs the columns | reference | verifier |
|---|---|---|---|
| plain | ``prompt``, ``question`` or ``problem``; ``answer``, ``solution``, ... | the field, or its last box | math |
| gsm8k | the same, and an ``answer`` that ends in ``#### 18`` | what follows ``####`` | math |
| verl | ``prompt``, ``reward_model`` | ``reward_model.ground_truth`` | math, code by ``ability`` |
| open-r1 code | ``problem`` or ``prompt``, ``verification_info`` | the tests | code |
| humaneval | ``prompt``, ``test``, ``entry_point`` | the tests | code |
| mbpp | ``text`` or ``prompt``, ``test_list`` | the tests | code |
| apps (TACO) | ``question``, ``input_output`` | the tests | code |
| multiple choice | ``question``, ``choices`` or ``options``, ``answer`` or ``answerKey`` | the letter | choice |
| gpqa | ``Question``, ``Correct Answer``, ``Incorrect Answer 1`` to ``3`` | the letter | choice |
"""

from thinkery.problems.conventions.base import Convention
from thinkery.problems.conventions.choice import CHOICE, GPQA
from thinkery.problems.conventions.code import APPS, HUMANEVAL, MBPP, OPEN_R1
from thinkery.problems.conventions.plain import GSM8K, PLAIN, VERL

CONVENTIONS: tuple[Convention, ...] = (PLAIN, GSM8K, VERL, OPEN_R1, HUMANEVAL, MBPP, APPS, CHOICE, GPQA)
