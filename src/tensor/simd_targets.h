// Which of Highway's targets the kernels are compiled for. Include before any Highway header.
//
// SSSE3 would only serve CPUs from before 2008; SVE vectors have no size known to the compiler, and
// our kernels keep vectors in structs (NEON serves those CPUs).
#pragma once

#define HWY_DISABLED_TARGETS (HWY_SSSE3 | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128)
