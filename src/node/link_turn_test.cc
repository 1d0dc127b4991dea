#include "node/link_turn.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "sys/system.h"

namespace exo::node {
namespace {

const NodeId kFirst{{1}}, kSecond{{2}}, kThird{{3}};

// Far enough that only a fault comes to it.
Time Far() {
  return sys::Now() + std::chrono::minutes(1);
}

// Asks to be measured, from a thread of its own.
class Asking {
 public:
  Asking(LinkTurn& turn, const NodeId& peer)
      : thread_([this, &turn, peer] {
          turn.Admit(peer, Far());
          admitted_.store(true);
        }) {}
  bool AdmittedSoon() {
    for (int i = 0; i < 20 && !admitted_.load(); ++i)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    return admitted_.load();
  }
  void Join() { thread_.join(); }

 private:
  std::atomic<bool> admitted_{false};
  std::thread thread_;
};

TEST(LinkTurnTest, WhoeverMeasuresIsMeasuredLater) {
  LinkTurn turn(kSecond);
  turn.Ask(kThird);
  turn.Begin();
  Asking asking(turn, kFirst);
  EXPECT_FALSE(asking.AdmittedSoon());
  turn.End();
  asking.Join();
}

TEST(LinkTurnTest, OfTwoThatAskEachOtherTheFirstMeasuresFirst) {
  LinkTurn first(kFirst), second(kSecond);
  first.Ask(kSecond);
  second.Ask(kFirst);
  second.Admit(kFirst, Far());  // at once: no other thread is here that could end it
  Asking asking(first, kSecond);
  EXPECT_FALSE(asking.AdmittedSoon());
  first.Begin();
  EXPECT_FALSE(asking.AdmittedSoon());
  first.End();
  asking.Join();
}

TEST(LinkTurnTest, WhoWaitsForAThirdAnswers) {
  LinkTurn turn(kFirst);
  turn.Ask(kSecond);
  turn.Admit(kThird, Far());
}

TEST(LinkTurnTest, NobodyIsKeptWaitingForEver) {
  LinkTurn turn(kFirst);
  turn.Ask(kSecond);
  turn.Begin();
  const Time start = sys::Now();
  turn.Admit(kSecond, start + std::chrono::milliseconds(20));
  EXPECT_GE(sys::Now() - start, std::chrono::milliseconds(20));
  Asking asking(turn, kSecond);
  turn.Close();
  asking.Join();
}

TEST(LinkTurnTest, IsTakenUntilTheMeasurementIsOver) {
  LinkTurn turn(kFirst);
  EXPECT_FALSE(turn.Taken(sys::Now()));
  turn.Admit(kSecond, Far());
  EXPECT_TRUE(turn.Taken(sys::Now()));
  turn.Leave(kThird);
  EXPECT_TRUE(turn.Taken(sys::Now()));
  EXPECT_FALSE(turn.Taken(sys::Now() + std::chrono::minutes(1))) << "a link that is kept open";
  turn.Leave(kSecond);
  EXPECT_FALSE(turn.Taken(sys::Now()));
}

TEST(LinkTurnTest, IsMeasuredByOneAfterTheOther) {
  LinkTurn turn(kFirst);
  turn.Admit(kSecond, Far());
  Asking asking(turn, kThird);
  EXPECT_FALSE(asking.AdmittedSoon());
  turn.Leave(kSecond);
  asking.Join();
  EXPECT_TRUE(turn.Taken(sys::Now()));
}

TEST(LinkTurnTest, OfTwoThatMeasureTheSecondMayLeaveFirst) {
  LinkTurn turn(kFirst);
  turn.Admit(kSecond, Far());
  turn.Admit(kThird, sys::Now());  // it has waited for as long as it may
  turn.Leave(kThird);
  EXPECT_TRUE(turn.Taken(sys::Now())) << "by the other one";
  turn.Leave(kSecond);
  EXPECT_FALSE(turn.Taken(sys::Now()));
}

}  // namespace
}  // namespace exo::node
