#include "node/stay_awake.h"

#include <gtest/gtest.h>

namespace exo::node {
namespace {

using std::chrono::minutes;
using std::chrono::seconds;

// What the login service has given out.
struct Given {
  int asked = 0;
  int held = 0;
  bool refuses = false;
};

class FakeLock final : public sys::SleepLock {
 public:
  explicit FakeLock(Given& given) : given_(given) { ++given_.held; }
  ~FakeLock() override { --given_.held; }
  FakeLock(const FakeLock&) = delete;
  FakeLock& operator=(const FakeLock&) = delete;

 private:
  Given& given_;
};

class FakeLogin final : public sys::LoginService {
 public:
  explicit FakeLogin(Given& given) : given_(given) {}
  std::optional<bool> SomebodyWorks() const override { return std::nullopt; }
  Result<std::unique_ptr<sys::SleepLock>> KeepAwake(const std::string&) const override {
    ++given_.asked;
    if (given_.refuses) return Fail(ErrorCode::kIo, "not you");
    return std::make_unique<FakeLock>(given_);
  }

 private:
  Given& given_;
};

class StayAwakeTest : public testing::Test {
 protected:
  // And lets the service answer.
  void Note(bool answering, Time now) {
    awake_.Note(answering, now);
    // One thread at most works for a key's two jobs: behind it, the first one has answered.
    const bool begun = jobs_.Run(
        Jobs::Class::kIo, "login", [](const std::atomic<bool>&) { return true; },
        [this](bool) { loop_.Post([this] { loop_.Stop(); }); });
    ASSERT_TRUE(begun);
    loop_.Run();
  }

  Given given_;
  net::EventLoop loop_;
  Jobs jobs_{loop_};
  StayAwake awake_{jobs_, std::make_shared<FakeLogin>(given_)};
  Time now_ = seconds(1000);
};

TEST_F(StayAwakeTest, TheLockLastsFromTheFirstAnswerToAWhileAfterTheLast) {
  Note(false, now_);
  EXPECT_EQ(given_.asked, 0);
  for (int second = 0; second < 30; ++second) {
    Note(second % 9 == 0, now_ + seconds(second));
    while (!awake_.holds_lock()) Note(false, now_ + seconds(second));
  }
  EXPECT_EQ(given_.asked, 1);
  EXPECT_EQ(given_.held, 1);
  Note(false, now_ + seconds(27 + 10));
  EXPECT_EQ(given_.held, 0);
}

TEST_F(StayAwakeTest, AServiceThatRefusesIsNotAskedAllTheTime) {
  given_.refuses = true;
  for (int second = 0; second < 60; ++second) Note(true, now_ + seconds(second));
  EXPECT_EQ(given_.asked, 1);
  given_.refuses = false;
  Note(true, now_ + minutes(5));
  while (!awake_.holds_lock()) Note(true, now_ + minutes(5));
  EXPECT_EQ(given_.asked, 2);
  EXPECT_EQ(given_.held, 1);
}

}  // namespace
}  // namespace exo::node
