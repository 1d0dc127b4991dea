// Data links between two threads over loopback, and what they cost (EXO_BENCH=1).
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/tcp.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>

#include "engine/timers.h"
#include "net/connect_link.h"
#include "net/test_node.h"

namespace exo::net::test {
namespace {

struct Pair {
  Pair() : a({.secret = secret}), b({.secret = secret}) {
    a.Connect(b);
    EXPECT_TRUE(a.WaitUp(b.id()));
    EXPECT_TRUE(b.WaitUp(a.id()));
  }
  Result<std::unique_ptr<DataLink>> ConnectFrom(TestNode& from, TestNode& to,
                                                const NodeId& expected) {
    ConnectOptions options{
        .addresses = {to.address()}, .expected = expected, .deadline = Patiently()};
    options.hello =
        from.thread().On([&] { return from.peers().LinkHello(wire::Channel::kData, PlanId{{7}}); });
    return ConnectLink(from.identity(), options);
  }
  // Both ends of a link from a to b.
  void Connect() {
    auto link = ConnectFrom(a, b, b.id());
    ASSERT_TRUE(link) << link.error().message;
    near = std::move(*link);
    ASSERT_TRUE(b.Wait([&] { return !b.links.empty(); }));
    far = std::move(b.links[0]);
  }
  const std::string secret = NewSecret();
  TestNode a, b;
  std::unique_ptr<DataLink> near, far;
};

std::vector<float> Rows(size_t count, float start) {
  std::vector<float> rows(count);
  for (size_t i = 0; i < count; ++i) rows[i] = start + static_cast<float>(i % 1000);
  return rows;
}

TEST(DataLinkTest, CarriesMessagesAndAlignedTensors) {
  Pair pair;
  pair.Connect();
  EXPECT_EQ(pair.near->peer(), pair.b.id());
  EXPECT_EQ(pair.far->peer(), pair.a.id());
  wire::Step step;
  step.items.resize(3);
  for (const size_t count : {0u, 1u, 5u, 4096u, 1000000u}) {
    step.step = count;
    const auto rows = Rows(count, 1);
    // Larger than socket buffers, so the other side must read meanwhile.
    std::thread sender([&] { EXPECT_TRUE(pair.near->SendFloats(step, rows, Patiently())); });
    const auto got = pair.far->Poll(Patiently());
    sender.join();
    ASSERT_TRUE(got) << got.error().message;
    ASSERT_EQ(got->event, DataLink::Event::kFrame);
    EXPECT_EQ(std::get<wire::Step>(*got->frame.message), step);
    const auto floats = got->frame.floats();
    ASSERT_EQ(floats.size(), rows.size());
    EXPECT_TRUE(std::equal(floats.begin(), floats.end(), rows.begin()));
    EXPECT_EQ(reinterpret_cast<uintptr_t>(floats.data()) % 64, 0u);
  }
}

TEST(DataLinkTest, BothSidesSendLargeFramesAtOnce) {
  Pair pair;
  pair.Connect();
  constexpr size_t kFloats = 1 << 20;  // 4 MiB
  constexpr int kRounds = 8;
  const auto side = [&](DataLink& link, float send, float expect) {
    const auto out = Rows(kFloats, send);
    const auto in = Rows(kFloats, expect);
    for (int round = 0; round < kRounds; ++round) {
      wire::Step step;
      step.step = static_cast<uint64_t>(round);
      // Two before one is taken: more than any socket buffer holds.
      ASSERT_TRUE(link.SendFloats(step, out, Patiently()));
      ASSERT_TRUE(link.SendFloats(step, out, Patiently()));
      for (int i = 0; i < 2; ++i) {
        const auto got = link.Poll(Patiently());
        ASSERT_TRUE(got) << got.error().message;
        ASSERT_EQ(got->event, DataLink::Event::kFrame);
        EXPECT_EQ(std::get<wire::Step>(*got->frame.message).step, step.step);
        ASSERT_TRUE(std::ranges::equal(got->frame.floats(), in));
      }
    }
  };
  std::thread other([&] { side(*pair.far, 2, 1); });
  side(*pair.near, 1, 2);
  other.join();
}

TEST(DataLinkTest, TellsHowFastTheNetworkTookItsFrames) {
  Pair pair;
  pair.Connect();
  std::atomic<bool> done = false;
  std::thread reader([&] {
    while (!done.load() && pair.far->Poll(In(100))) {
    }
  });
  const std::vector<float> rows(1 << 20);  // more than the network holds at once
  constexpr double kEnough = 50;           // where nobody holds up the reader at that moment
  std::optional<double> mbps;
  for (int i = 0; i < 100 && !mbps; ++i) {
    EXPECT_TRUE(pair.near->SendFloats(wire::Step{.step = 1}, rows, Patiently()));
    const auto told = pair.near->SendMbps();
    if (told && *told > kEnough) mbps = told;
  }
  done = true;
  reader.join();
  ASSERT_TRUE(mbps) << "it took " << kEnough << " Mb/s at no time, over loopback";
}

TEST(DataLinkTest, StaysUpWhileThePeerComputesWithItsWindowFull) {
  Pair pair;
  pair.Connect();
  const auto rows = Rows(8 << 20, 1);  // 32 MiB: more than any socket buffer holds
  bool sent = false;
  std::thread sender([&] {
    const auto done = pair.near->SendFloats(wire::Step{.step = 1}, rows, Patiently());
    EXPECT_TRUE(done) << done.error().message;
    sent = done.has_value();
  });
  // Longer than the 2 s after which the kernel once gave such a link up.
  std::this_thread::sleep_for(std::chrono::milliseconds(4500));
  const auto got = pair.far->Poll(Patiently());
  sender.join();
  ASSERT_TRUE(got) << got.error().message;
  ASSERT_EQ(got->event, DataLink::Event::kFrame);
  EXPECT_TRUE(std::ranges::equal(got->frame.floats(), rows));
  EXPECT_TRUE(sent);
}

// As a stage that computes: nobody is inside the near end while its frame goes out.
TEST(DataLinkTest, WhatSendLeavesGoesOutWhileItsOwnerIsElsewhere) {
  Pair pair;
  pair.Connect();
  pair.near->Overlap();
  const auto rows = Rows(8 << 20, 1);  // 32 MiB: more than any socket buffer holds
  // Who waited for the reader would wait until then.
  ASSERT_TRUE(pair.near->SendFloats(wire::Step{.step = 1}, rows, Patiently()));
  ASSERT_TRUE(pair.near->SendFloats(wire::Step{.step = 2}, std::span(rows).first(3), Patiently()));
  for (const size_t count : {rows.size(), size_t{3}}) {
    const auto got = pair.far->Poll(Patiently());
    ASSERT_TRUE(got) << got.error().message;
    ASSERT_EQ(got->event, DataLink::Event::kFrame);
    EXPECT_TRUE(std::ranges::equal(got->frame.floats(), std::span(rows).first(count)));
  }
}

TEST(DataLinkTest, FramesBehindALargeOneArriveWhileTheirReaderIsElsewhere) {
  Pair pair;
  pair.Connect();
  pair.far->Overlap();
  const auto rows = Rows(1 << 20, 1);
  std::thread sender(
      [&] { EXPECT_TRUE(pair.near->SendFloats(wire::Step{.step = 1}, rows, Patiently())); });
  auto got = pair.far->Poll(Patiently());
  sender.join();
  ASSERT_TRUE(got && got->event == DataLink::Event::kFrame);
  // The near end has no mover: this returns when the far one has taken it from the kernel.
  const auto more = Rows(8 << 20, 2);
  const auto sent = pair.near->SendFloats(wire::Step{.step = 2}, more, Patiently());
  ASSERT_TRUE(sent) << sent.error().message;
  EXPECT_TRUE(std::ranges::equal(got->frame.floats(), rows))
      << "what the reader looks at is its own";
  got = pair.far->Poll(Patiently());
  ASSERT_TRUE(got && got->event == DataLink::Event::kFrame);
  EXPECT_TRUE(std::ranges::equal(got->frame.floats(), more));
}

TEST(DataLinkTest, FramesOfAllSizesKeepTheirOrderWithMovers) {
  Pair pair;
  pair.Connect();
  pair.near->Overlap();
  pair.far->Overlap();
  const size_t sizes[] = {1, 1 << 20, 0, 40000, 7, 3 << 20, 16 << 10, 2};
  const auto side = [&](DataLink& link) {
    for (uint64_t round = 0; round < 24; ++round) {
      const auto rows = Rows(sizes[round % 8], static_cast<float>(round));
      ASSERT_TRUE(link.SendFloats(wire::Step{.step = round}, rows, Patiently()));
      if (round % 3 != 2) continue;
      for (uint64_t back = round - 2; back <= round; ++back) {
        const auto got = link.Poll(Patiently());
        ASSERT_TRUE(got && got->event == DataLink::Event::kFrame);
        EXPECT_EQ(std::get<wire::Step>(*got->frame.message).step, back);
        EXPECT_TRUE(std::ranges::equal(got->frame.floats(),
                                       Rows(sizes[back % 8], static_cast<float>(back))));
      }
    }
  };
  std::thread other([&] { side(*pair.far); });
  side(*pair.near);
  other.join();
}

TEST(DataLinkTest, ALinkWithAMoverEndsWithWhatItHasNotSent) {
  Pair pair;
  pair.Connect();
  pair.near->Overlap();
  ASSERT_TRUE(pair.near->SendFloats(wire::Step{.step = 1}, Rows(8 << 20, 1), Patiently()));
  pair.near->Shutdown();
  pair.near.reset();  // nobody has read anything
  const auto got = pair.far->Poll(Patiently());
  EXPECT_FALSE(got);
}

TEST(DataLinkTest, ShutdownFromAnotherThreadEndsASendThatWaits) {
  Pair pair;
  pair.Connect();
  const auto rows = Rows(8 << 20, 1);
  std::thread other([&] {
    std::this_thread::sleep_for(std::chrono::milliseconds(100));
    pair.near->Shutdown();
  });
  const Time start = sys::Now();
  EXPECT_FALSE(pair.near->SendFloats(wire::Step{.step = 1}, rows, Patiently()));
  EXPECT_LT(sys::Now() - start, std::chrono::seconds(30));
  other.join();
}

TEST(DataLinkTest, PollEndsAtTheDeadlineAndWhenWoken) {
  Pair pair;
  pair.Connect();
  const Time start = sys::Now();
  auto got = pair.near->Poll(In(20));
  ASSERT_TRUE(got);
  EXPECT_EQ(got->event, DataLink::Event::kTimeout);
  EXPECT_GE(sys::Now() - start, std::chrono::milliseconds(20));
  const int wake = ::eventfd(1, EFD_CLOEXEC);
  got = pair.near->Poll(Patiently(), wake);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->event, DataLink::Event::kWoken);
  ::close(wake);
}

TEST(DataLinkTest, SayClosedWhenThePeerIsGone) {
  Pair pair;
  pair.Connect();
  ASSERT_TRUE(pair.far->Send(wire::Step{.step = 9}, {}, Patiently()));
  pair.far.reset();
  auto got = pair.near->Poll(Patiently());  // what was sent before the end still arrives
  ASSERT_TRUE(got);
  EXPECT_EQ(std::get<wire::Step>(*got->frame.message).step, 9u);
  got = pair.near->Poll(Patiently());
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, ErrorCode::kDisconnected);
  EXPECT_FALSE(pair.near->Send(wire::Step{}, {}, In(1000)));
}

TEST(DataLinkTest, ShutdownFromAnotherThreadEndsAPoll) {
  Pair pair;
  pair.Connect();
  std::thread other([&] { pair.near->Shutdown(); });
  const auto got = pair.near->Poll(Patiently());
  other.join();
  EXPECT_FALSE(got);
}

TEST(DataLinkTest, SendGivesUpAtItsDeadline) {
  Pair pair;
  pair.Connect();
  const std::vector<float> rows(32 << 20 >> 2);
  const auto sent = pair.near->SendFloats(wire::Step{}, rows, In(100));  // nobody reads
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, ErrorCode::kDisconnected);
}

TEST(DataLinkTest, FrameLimitHolds) {
  Pair pair;
  pair.Connect();
  pair.far->SetFrameLimit(8192);
  const auto rows = Rows(4096, 0);
  (void)pair.near->SendFloats(wire::Step{}, rows, In(1000));
  const auto got = pair.far->Poll(Patiently());
  ASSERT_FALSE(got);
  EXPECT_EQ(got.error().code, ErrorCode::kCorrupt);
}

TEST(DataLinkTest, RefusesUnknownPlansStrangersAndWrongKeys) {
  Pair pair;
  {
    const MutexLock lock(pair.b.mutex);
    pair.b.wants_links = false;
  }
  auto link = pair.ConnectFrom(pair.a, pair.b, pair.b.id());
  ASSERT_FALSE(link);
  EXPECT_NE(link.error().message.find("no such instance"), std::string::npos)
      << link.error().message;

  link = pair.ConnectFrom(pair.a, pair.b, pair.a.id());
  ASSERT_FALSE(link);
  EXPECT_NE(link.error().message.find("another device"), std::string::npos) << link.error().message;

  TestNode stranger({.secret = pair.secret});  // has the secret, but never had a session
  link = pair.ConnectFrom(stranger, pair.b, pair.b.id());
  ASSERT_FALSE(link);
  EXPECT_NE(link.error().message.find("not a member"), std::string::npos) << link.error().message;
}

TEST(DataLinkTest, ConnectGivesUpInTime) {
  auto identity = *Identity::Create();
  ConnectOptions options{.addresses = {{"127.0.0.1", 1}}, .deadline = In(1000)};
  const auto link = ConnectLink(*identity, options);
  ASSERT_FALSE(link);
  EXPECT_EQ(link.error().code, ErrorCode::kDisconnected);
}

// Round trips over a link; prints p50 and p99. Run with EXO_BENCH=1.
TEST(DataLinkBench, RoundTrip) {
  if (std::getenv("EXO_BENCH") == nullptr) GTEST_SKIP() << "set EXO_BENCH=1";
  Pair pair;
  pair.Connect();
  for (const size_t bytes : {0u, 8192u, 16384u, 262144u, 4194304u}) {
    const int rounds = bytes > 1000000 ? 100 : 3000;
    const std::vector<float> rows(bytes / 4);
    std::thread echo([&] {
      for (int i = 0; i < rounds; ++i) {
        const auto got = pair.far->Poll(Patiently());
        ASSERT_TRUE(got && got->event == DataLink::Event::kFrame);
        ASSERT_TRUE(pair.far->Send(*got->frame.message, got->frame.tensor, Patiently()));
      }
    });
    std::vector<double> times;
    wire::Step step;
    step.items.resize(1);
    for (int i = 0; i < rounds; ++i) {
      const Time start = sys::Now();
      ASSERT_TRUE(pair.near->SendFloats(step, rows, Patiently()));
      const auto got = pair.near->Poll(Patiently());
      ASSERT_TRUE(got && got->event == DataLink::Event::kFrame);
      times.push_back(std::chrono::duration<double, std::micro>(sys::Now() - start).count());
    }
    echo.join();
    std::sort(times.begin(), times.end());
    fmt::print("round trip {:7} bytes: p50 {:.0f} us, p99 {:.0f} us\n", bytes,
               times[times.size() / 2], times[times.size() * 99 / 100]);
  }
}

// Every member gives its values to every other one and takes theirs, as the shards of a plan do.
class Mesh {
 public:
  explicit Mesh(size_t members)
      : links_(members), sockets_(members, std::vector<int>(members, -1)) {
    for (size_t i = 0; i < members; ++i) links_[i].resize(members);
    for (size_t i = 0; i < members; ++i) {
      for (size_t k = 0; k < i; ++k) Connect(i, k);
    }
  }
  ~Mesh() {
    for (const std::vector<int>& own : sockets_) {
      for (const int socket : own) ::close(socket);
    }
  }

  // Microseconds of one exchange of so many values.
  double OverLinks(size_t floats, int rounds) {
    return Timed(rounds, [&](size_t own, std::vector<float>& values) {
      for (auto& link : links_[own]) {
        if (link)
          ASSERT_TRUE(
              link->SendFloats(wire::Partials{}, std::span(values).first(floats), Patiently()));
      }
      for (auto& link : links_[own]) {
        if (!link) continue;
        const auto got = link->Poll(Patiently());
        ASSERT_TRUE(got && got->frame.floats().size() == floats);
      }
    });
  }
  // The same bytes through blocking sockets.
  double OverSockets(size_t floats, int rounds) {
    const size_t bytes = floats * sizeof(float);
    return Timed(rounds, [&](size_t own, std::vector<float>& values) {
      for (const int socket : sockets_[own]) {
        if (socket >= 0)
          ASSERT_EQ(::send(socket, values.data(), bytes, 0), static_cast<ssize_t>(bytes));
      }
      for (const int socket : sockets_[own]) {
        if (socket >= 0)
          ASSERT_EQ(::recv(socket, values.data(), bytes, MSG_WAITALL), static_cast<ssize_t>(bytes));
      }
    });
  }

 private:
  void Connect(size_t i, size_t k) {
    pairs_.push_back(std::make_unique<Pair>());
    pairs_.back()->Connect();
    links_[i][k] = std::move(pairs_.back()->near);
    links_[k][i] = std::move(pairs_.back()->far);
    for (auto* link : {links_[i][k].get(), links_[k][i].get()})
      link->SetSpin(engine::StageTimers{}.sum_spin);
    const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in address{.sin_family = AF_INET, .sin_addr = {.s_addr = htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    auto* any = reinterpret_cast<sockaddr*>(&address);
    ASSERT_EQ(
        ::bind(listener, any, size) | ::listen(listener, 1) | ::getsockname(listener, any, &size),
        0);
    sockets_[i][k] = ::socket(AF_INET, SOCK_STREAM, 0);
    ASSERT_EQ(::connect(sockets_[i][k], any, size), 0);
    sockets_[k][i] = ::accept(listener, nullptr, nullptr);
    ::close(listener);
    const int on = 1;
    for (const int socket : {sockets_[i][k], sockets_[k][i]})
      ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  }
  double Timed(int rounds, const std::function<void(size_t, std::vector<float>&)>& exchange) {
    const Time start = sys::Now();
    std::vector<std::thread> others;
    const auto member = [&](size_t own) {
      std::vector<float> values(4096, 1);
      for (int i = 0; i < rounds; ++i) exchange(own, values);
    };
    for (size_t own = 1; own < links_.size(); ++own) others.emplace_back(member, own);
    member(0);
    for (std::thread& other : others) other.join();
    return std::chrono::duration<double, std::micro>(sys::Now() - start).count() / rounds;
  }

  std::vector<std::unique_ptr<Pair>> pairs_;  // keep the nodes
  std::vector<std::vector<std::unique_ptr<DataLink>>> links_;
  std::vector<std::vector<int>> sockets_;
};

// An exchange of sums beside the same bytes through plain sockets, in turns. Run with EXO_BENCH=1.
TEST(DataLinkBench, AllReduce) {
  if (std::getenv("EXO_BENCH") == nullptr) GTEST_SKIP() << "set EXO_BENCH=1";
  for (const size_t members : {2u, 4u}) {
    Mesh mesh(members);
    for (const size_t floats : {2048u, 4096u}) {
      std::vector<double> links, sockets, ratios;
      for (int turn = 0; turn < 21; ++turn) {
        sockets.push_back(mesh.OverSockets(floats, 500));
        links.push_back(mesh.OverLinks(floats, 500));
        ratios.push_back(links.back() / sockets.back());
      }
      for (auto* values : {&links, &sockets, &ratios}) std::ranges::sort(*values);
      fmt::print(
          "{} members, {} floats: {:.1f} us over links, {:.1f} us over sockets, ratio {:.2f} "
          "({:.2f} to {:.2f})\n",
          members, floats, links[10], sockets[10], ratios[10], ratios.front(), ratios.back());
    }
  }
}

}  // namespace
}  // namespace exo::net::test
