// The table of the rule loss_not_decreasing: what it is for people, and its parameters.
#pragma once

#include <array>

#include "wheeltapper/rules/rule.h"

namespace wheeltapper::rules {

inline constexpr std::array<ParameterSpec, 9> kLossParameters = {{
    {"collection_names", ParameterType::kText, "",
     "Collections to look at, separated by commas, in place of the losses.", kSageMaker},
    {"tensor_regex", ParameterType::kRegex, "", "Names to look at, in place of the losses.",
     kSageMaker},
    {"use_losses_collection", ParameterType::kBool, "true",
     "Look at everything that is a loss as well.", kSageMaker},
    {"num_steps", ParameterType::kInteger, "10",
     "Steps between two checks, and how far back to "
     "compare with `compat`.",
     kSageMaker},
    {"diff_percent", ParameterType::kNumber, "0.1", "A decrease below this percentage is none.",
     kSageMaker},
    {"increase_threshold_percent", ParameterType::kNumber, "5",
     "With `compat`: an increase above this percentage is worded as one.", kSageMaker},
    {"mode", ParameterType::kText, "",
     "train, eval, predict or global; unset: train and global (with `compat`: the first of eval, "
     "train, global that has a loss).",
     kSageMaker},
    {"min_points", ParameterType::kInteger, "100", "Loss values before a loss can be called flat.",
     kOurs},
    {"compat", ParameterType::kBool, "false",
     "Compare single values as SageMaker's rule does: alarms at plateaus too.", kOurs},
}};

inline constexpr std::array<Explanation, 8> kLossExplainedBy = {{
    {"flat", "optimizer_no_op", kAnyCause, Reach::kWholeModel},
    {"flat", "dead_relu", kAnyCause, Reach::kWholeModel},
    {"flat", "vanishing_gradient", kAnyCause, Reach::kWholeModel},
    {"diverged", "nonfinite", kAnyCause},
    {"diverged", "exploding_tensor", "growth", Reach::kAnywhere, /*outlasts=*/true},
    {"diverged", "weight_update_ratio", "large", Reach::kAnywhere, /*outlasts=*/true},
    {"flat", "gradients_add_up", kAnyCause},
    {"diverged", "gradients_add_up", kAnyCause},
}};

inline const RuleInfo kLossNotDecreasingInfo = {
    .name = "loss_not_decreasing",
    .title = "Loss not decreasing",
    .summary = "The loss diverges, or has not decreased since the start.",
    .smdebug_name = "LossNotDecreasing",
    .severity = Severity::kError,
    .on_by_default = true,
    .warm_up_steps = 4,
    .parameters = kLossParameters,
    .needs = {.collections = {"losses"}, .scalars = true},
    .what_it_means =
        R"(Diverged: an error where half of the weights grew by half within 16 steps of the rise (or as fast by the next capture), the loss rose a thousandfold, the learning rate rises or gradients add up, or where no weights are captured; else a warning, because the targets may have moved, as in reinforcement learning. The median of the newest values (a quarter of the run so far, 3 to 25 values)

- is three times the 90 % quantile of what came before, and three times the first value; or
- has stayed above twice the starting level; or
- is back at the starting level after having been below half of it, above what has been usual since, and stays there; or
- is above the starting level after having been below three quarters of it.

A loss that comes down again does not count as risen. It resolves when the loss has come back near its former level for 15 values.

Flat, only a warning, because it may just need more time. After `min_points` values, and not while the learning rate rises

- no window of 15 values has a median below that of the first ten by more than `diff_percent` percent and three standard errors (2 percent are always enough); or
- the loss jumped from its very first value at once, and fewer than 5 percent of all values lie below that.

After twice `min_points` values, whenever their number has doubled, and at the run's end, the newest half (128 values at most) is at one level, which is

- within a quarter of the first value, when some of the first 20 values in a row were above one and a half times that, and one above three times; or
- not 2 percent below the start, if noise could not hide a fall of 1 percent; or
- within 1 percent of what guessing gives, with the same certainty: ln C, where the loss that backward() starts from is the mean cross entropy of C classes alone, and C is 3 or more.

Of a loss so noisy that three standard errors are more than 5 percent of it, the halves of the run (128 values at most) are compared instead: it is flat when the first ten, twenty, forty … values have no higher median than the second half. A flat loss resolves when it stays below its level by 2 percent and three standard errors.

Several optimizers with a loss each that take turns, as in a GAN: nothing is called flat, unless you name the losses that are meant to fall; a rise to less than ten times the largest of the losses at the start, or to less than 10 where none of them starts above 1, is no divergence while another loss falls, nor is a rise to less than 1 ever.

Terms of a loss: what is only a term of what backward() starts from (or, where that cannot be read, of a loss logged as loss or total_loss) may rise or stay; it is judged only while that one diverges or is flat. Of several logged losses without either, one may rise as far as a side of a game while another falls.

With a new optimizer over parameters that no other one had, as for each fold of a cross-validation, judging begins anew. Each of these trainings that diverges or is flat has a finding of its own, with its steps; it stays as it was when that training ended, whatever the next one does. A loss that is back at its start as a new optimizer makes its first steps over the same parameters, which were drawn anew, begins anew as well.)",
    .false_alarms =
        "Losses that are not meant to fall: policy losses, that of Q-learning before its first "
        "reward, "
        "the sides of a game that share one "
        "optimizer, a sum one of whose "
        "weights is raised on a schedule. A run that starts from a converged checkpoint is flat "
        "from its first step, and a noisy loss may seem so that falls only by a few percent in its "
        "very "
        "first values. Name the losses that matter with `tensor_regex`, or ignore the rule.",
    .how_to_fix =
        "Diverged: lower the learning rate, add warm-up or gradient clipping; check that "
        "zero_grad() "
        "is called in each step, and the sign of the loss. Flat: check that "
        "the optimizer holds the parameters (optimizer_no_op), that labels match inputs, that the "
        "learning rate is neither far too high nor far too low, that no layer is dead (dead_relu), "
        "that weight decay is not too strong.",
    .explained_by = kLossExplainedBy,
};

}  // namespace wheeltapper::rules
