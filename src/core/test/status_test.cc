#include "wheeltapper/core/status.h"

#include <cerrno>
#include <set>

#include <gtest/gtest.h>

#include "wheeltapper/core/ids.h"

namespace wheeltapper {
namespace {

TEST(StatusTest, OkIsTheDefaultAndHasNoMessage) {
  EXPECT_TRUE(Status().ok());
  EXPECT_EQ(Status().code(), StatusCode::kOk);
  EXPECT_EQ(Status().message(), "");
  EXPECT_EQ(Status().ToString(), "OK");
  EXPECT_TRUE(Status(StatusCode::kOk, "ignored").ok());
}

TEST(StatusTest, ContextIsPutInFrontAndOkStaysOk) {
  EXPECT_EQ(DataLossError("bad crc").WithContext("reading x").ToString(),
            "DATA_LOSS: reading x: bad crc");
  EXPECT_TRUE(Status().WithContext("reading x").ok());
}

TEST(StatusTest, EveryCodeHasItsOwnName) {
  std::set<std::string_view> names;
  for (int code = 0; code <= static_cast<int>(StatusCode::kInternal); ++code) {
    names.insert(StatusCodeName(static_cast<StatusCode>(code)));
  }
  EXPECT_EQ(names.size(), static_cast<size_t>(StatusCode::kInternal) + 1);
}

TEST(StatusTest, EachConstructorGivesItsCode) {
  EXPECT_EQ(InvalidArgumentError("").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(NotFoundError("").code(), StatusCode::kNotFound);
  EXPECT_EQ(AlreadyExistsError("").code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(FailedPreconditionError("").code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(OutOfRangeError("").code(), StatusCode::kOutOfRange);
  EXPECT_EQ(ResourceExhaustedError("").code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(UnavailableError("").code(), StatusCode::kUnavailable);
  EXPECT_EQ(DeadlineExceededError("").code(), StatusCode::kDeadlineExceeded);
  EXPECT_EQ(CancelledError("").code(), StatusCode::kCancelled);
  EXPECT_EQ(DataLossError("").code(), StatusCode::kDataLoss);
  EXPECT_EQ(UnimplementedError("").code(), StatusCode::kUnimplemented);
  EXPECT_EQ(InternalError("").code(), StatusCode::kInternal);
}

TEST(StatusTest, OnlyPassingTroubleIsRetryable) {
  EXPECT_TRUE(IsRetryable(StatusCode::kUnavailable));
  EXPECT_TRUE(IsRetryable(StatusCode::kDeadlineExceeded));
  EXPECT_FALSE(IsRetryable(StatusCode::kDataLoss));
  EXPECT_FALSE(IsRetryable(StatusCode::kResourceExhausted));
}

TEST(StatusTest, ErrnoBecomesTheCodeACallerCanActOn) {
  EXPECT_EQ(ErrnoError(ENOENT, "x").code(), StatusCode::kNotFound);
  EXPECT_EQ(ErrnoError(EEXIST, "x").code(), StatusCode::kAlreadyExists);
  EXPECT_EQ(ErrnoError(ENOSPC, "x").code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoError(EDQUOT, "x").code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoError(EACCES, "x").code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrnoError(EISDIR, "x").code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(ErrnoError(EINTR, "x").code(), StatusCode::kUnavailable);
  EXPECT_EQ(ErrnoError(ENAMETOOLONG, "x").code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(ErrnoError(EIO, "x").code(), StatusCode::kInternal);
  EXPECT_EQ(ErrnoError(ENOENT, "opening").message(), "opening: No such file or directory");
}

Result<int> Half(int number) {
  if (number % 2 != 0) {
    return InvalidArgumentError("odd");
  }
  return number / 2;
}

Result<int> Quarter(int number) {
  WT_ASSIGN_OR_RETURN(const int half, Half(number));
  WT_ASSIGN_OR_RETURN(const int quarter, Half(half));
  return quarter;
}

Status CheckQuarter(int number) {
  WT_RETURN_IF_ERROR(Quarter(number).status());
  return {};
}

TEST(ResultTest, MacrosPassValuesAndErrorsOn) {
  EXPECT_EQ(*Quarter(8), 2);
  EXPECT_EQ(Quarter(6).status().message(), "odd");
  EXPECT_TRUE(CheckQuarter(8).ok());
  EXPECT_EQ(CheckQuarter(7).code(), StatusCode::kInvalidArgument);
}

TEST(ResultTest, FallbackIsUsedOnlyForAnError) {
  EXPECT_EQ(Half(4).value_or(7), 2);
  EXPECT_EQ(Half(3).value_or(7), 7);
}

TEST(ResultTest, HoldsWhatCanOnlyBeMoved) {
  Result<std::unique_ptr<int>> result(std::make_unique<int>(3));
  const std::unique_ptr<int> taken = *std::move(result);
  EXPECT_EQ(*taken, 3);
}

TEST(ResultTest, OkWithoutAValueIsOurOwnMistake) {
  const Result<int> result{Status()};
  EXPECT_FALSE(result.ok());
  EXPECT_EQ(result.status().code(), StatusCode::kInternal);
}

TEST(ResultDeathTest, UsingAFailedResultEndsTheProcessWithTheReason) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH((void)Half(3).value(), "a failed Result was used: INVALID_ARGUMENT: odd");
}

TEST(ModeTest, NamesReadBackAsModes) {
  for (const Mode mode : {Mode::kTrain, Mode::kEval, Mode::kPredict, Mode::kGlobal}) {
    EXPECT_EQ(ModeFromName(ModeName(mode)), mode);
  }
  EXPECT_EQ(ModeFromName("testing"), std::nullopt);
}

}  // namespace
}  // namespace wheeltapper
