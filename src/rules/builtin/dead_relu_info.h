// The table of the rule dead_relu: what it is for people, and its parameters.
#pragma once

#include <array>

#include "wheeltapper/rules/rule.h"

namespace wheeltapper::rules {

inline constexpr std::array<ParameterSpec, 5> kDeadReluParameters = {{
    {"tensor_regex", ParameterType::kRegex, "",
     "Outputs to look at (SageMaker: `.*relu_output`); unset: the outputs of every ReLU module.",
     kSageMaker},
    {"threshold_inactivity", ParameterType::kNumber, "1.0",
     "A unit is dead when it is active (> 0) for less than this share of samples, in percent.",
     kSageMaker},
    {"threshold_layer", ParameterType::kNumber, "50.0",
     "Share of dead units in a layer that is reported, in percent.", kSageMaker},
    {"patience", ParameterType::kInteger, "3", "Captured steps in a row before it is reported.",
     kOurs},
    {"zero_gradient_steps", ParameterType::kInteger, "10",
     "Also report a module whose own gradients are all exactly zero for so many captured steps; "
     "0 = never. Half as many do (at least 5) when they span four times as many steps of training.",
     kOurs},
}};

inline constexpr std::array<Explanation, 1> kDeadReluExplainedBy = {{
    {"", "gradients_add_up", kAnyCause},
}};

inline const RuleInfo kDeadReluInfo = {
    .name = "dead_relu",
    .title = "Dead ReLU",
    .summary =
        "A layer whose ReLU outputs only zeros, or whose tanh or sigmoid is saturated, so that it "
        "and the layers before it cannot learn.",
    .smdebug_name = "DeadRelu",
    .severity = Severity::kError,
    .on_by_default = true,
    .warm_up_steps = 3,
    .parameters = kDeadReluParameters,
    .needs = {.collections = {"activations", "gradients"}},
    .what_it_means =
        "The outputs of a ReLU are zero on `patience` captured steps in a row for more than "
        "`threshold_layer` percent of its units. No gradient passes a ReLU that is off: the layer "
        "never recovers by itself, and everything before it stops learning. Where outputs are not "
        "captured (or the ReLU is a function, not a module) the exactly zero gradients of a layer "
        "give it away, after `zero_gradient_steps` captured steps, or half as many (at least 5) "
        "spread over four times `zero_gradient_steps` steps of training. So does a saturated tanh "
        "or "
        "sigmoid, which the finding names where its outputs are captured. At the end of a run two "
        "captured steps are enough that span 50 steps of training and are the last; for zero "
        "gradients the weights must have rested all the while. Found by its gradients "
        "alone a layer is a warning instead of an error, because a mask looks the same.",
    .false_alarms =
        "Experts of a mixture that get no tokens, branches that are switched off, adapters in "
        "their very first steps have exactly zero gradients. Units are judged by a bound that "
        "holds for every distribution of activity over units, so a reported share is proven, and "
        "some dead layers are missed.",
    .how_to_fix =
        "Lower the learning rate (a large step often drives the bias far negative), start biases "
        "at 0, use He initialisation, or use LeakyReLU or GELU. Of a "
        "saturated tanh or sigmoid: scale the inputs, draw the weights smaller (Xavier), or "
        "normalise before it.",
    .explained_by = kDeadReluExplainedBy,
};

}  // namespace wheeltapper::rules
