#include "sys/login.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <thread>
#include <vector>

#include "sys/temporary_folder.h"

namespace exo::sys {
namespace {

// A bus with a login service on it, for one caller after the other.
class FakeLogind {
 public:
  struct Session {
    std::string seat, kind = "user";
    bool active = true, idle = false;
  };

  FakeLogind() {
    listener_ = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_un name = {.sun_family = AF_UNIX, .sun_path = {}};
    Path().copy(name.sun_path, sizeof(name.sun_path) - 1);
    const auto* address = reinterpret_cast<const sockaddr*>(&name);
    EXPECT_EQ(::bind(listener_, address, sizeof(name)), 0);
    EXPECT_EQ(::listen(listener_, 4), 0);
    thread_ = std::thread([this] { Serve(); });
  }
  ~FakeLogind() {
    ::shutdown(listener_, SHUT_RDWR);
    thread_.join();
    ::close(listener_);
    if (lock_ >= 0) ::close(lock_);
  }
  FakeLogind(const FakeLogind&) = delete;
  FakeLogind& operator=(const FakeLogind&) = delete;

  std::string address() const { return "unix:path=" + Path(); }

  // Set while nobody calls.
  std::map<std::string, Session> sessions;  // by their object
  bool refuses = false;
  std::string inhibited;  // what was asked for last
  // True while the caller holds the other end.
  bool IsLocked() const {
    char byte = 0;
    return lock_ >= 0 && ::recv(lock_, &byte, 1, MSG_DONTWAIT) != 0;
  }

 private:
  std::string Path() const { return folder_->path() + "/bus"; }

  void Serve() {
    for (int fd;
         (fd = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0;) {
      sd_bus* bus = nullptr;
      sd_id128_t id = {};
      EXPECT_GE(sd_bus_new(&bus), 0);
      EXPECT_GE(sd_bus_set_fd(bus, fd, fd), 0);
      EXPECT_GE(sd_bus_set_server(bus, 1, id), 0);
      EXPECT_GE(sd_bus_set_anonymous(bus, 1), 0);
      EXPECT_GE(sd_bus_negotiate_fds(bus, 1), 0);
      EXPECT_GE(sd_bus_start(bus), 0);
      for (int done = 0; done >= 0;) {
        sd_bus_message* call = nullptr;
        done = sd_bus_process(bus, &call);
        if (call != nullptr) Answer(call);
        sd_bus_message_unref(call);
        if (done == 0) done = sd_bus_wait(bus, 5'000'000);
      }
      sd_bus_close_unref(bus);
    }
  }

  void Answer(sd_bus_message* call) {
    const std::string member =
        sd_bus_message_get_member(call) ? sd_bus_message_get_member(call) : "";
    if (member == "Hello") {
      sd_bus_reply_method_return(call, "s", ":1.7");
    } else if (member == "ListSessions") {
      List(call);
    } else if (member == "Get") {
      const char *interface = nullptr, *property = nullptr;
      sd_bus_message_read(call, "ss", &interface, &property);
      Get(call, sessions.at(sd_bus_message_get_path(call)), property);
    } else if (member == "Inhibit") {
      Inhibit(call);
    }
  }
  void List(sd_bus_message* call) const {
    sd_bus_message* reply = nullptr;
    sd_bus_message_new_method_return(call, &reply);
    sd_bus_message_open_container(reply, 'a', "(susso)");
    for (const auto& [path, session] : sessions)
      sd_bus_message_append(reply, "(susso)", "c1", 1000, "u", session.seat.c_str(), path.c_str());
    sd_bus_message_close_container(reply);
    sd_bus_send(nullptr, reply, nullptr);
    sd_bus_message_unref(reply);
  }
  static void Get(sd_bus_message* call, const Session& session, const std::string& property) {
    if (property == "Class") {
      sd_bus_reply_method_return(call, "v", "s", session.kind.c_str());
    } else {
      sd_bus_reply_method_return(call, "v", "b",
                                 property == "Active" ? session.active : session.idle);
    }
  }
  void Inhibit(sd_bus_message* call) {
    if (refuses) {
      sd_bus_reply_method_errorf(call, "org.freedesktop.DBus.Error.AccessDenied", "not you");
      return;
    }
    const char *what = nullptr, *who = nullptr, *why = nullptr, *mode = nullptr;
    sd_bus_message_read(call, "ssss", &what, &who, &why, &mode);
    inhibited = std::string(what) + "|" + who + "|" + why + "|" + mode;
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    lock_ = ends[0];
    sd_bus_reply_method_return(call, "h", ends[1]);
    ::close(ends[1]);
  }

  std::unique_ptr<TemporaryFolder> folder_ = TemporaryFolder::Create("exo-bus-").value();
  int listener_ = -1;
  std::atomic<int> lock_ = -1;
  std::thread thread_;
};

TEST(LoginTest, WithoutABusNothingIsKnown) {
  const auto login = MakeLoginService("unix:path=/nonexistent/exo-bus");
  EXPECT_EQ(login->SomebodyWorks(), std::nullopt);
  const auto lock = login->KeepAwake("an answer is computed");
  ASSERT_FALSE(lock);
  EXPECT_EQ(lock.error().code, ErrorCode::kUnsupported);
}

TEST(LoginTest, SomebodyWorksWhereASessionAtTheScreenIsInUse) {
  const auto works = [](std::vector<FakeLogind::Session> all) {
    FakeLogind logind;
    for (const FakeLogind::Session& session : all)
      logind.sessions["/session/s" + std::to_string(logind.sessions.size())] = session;
    return MakeLoginService(logind.address())->SomebodyWorks();
  };
  EXPECT_EQ(works({}), false);
  EXPECT_EQ(works({{.seat = "seat0"}}), true);
  EXPECT_EQ(works({{.seat = "seat0", .idle = true}}), false);
  EXPECT_EQ(works({{.seat = ""}}), false);                          // from another machine
  EXPECT_EQ(works({{.seat = "seat0", .active = false}}), false);    // another user's turn
  EXPECT_EQ(works({{.seat = "seat0", .kind = "greeter"}}), false);  // nobody is logged in
  EXPECT_EQ(works({{.seat = ""}, {.seat = "seat0", .idle = true}, {.seat = "seat1"}}), true);
}

TEST(LoginTest, TheMachineStaysAwakeAsLongAsTheLockIsThere) {
  FakeLogind logind;
  const auto login = MakeLoginService(logind.address());
  auto lock = login->KeepAwake("an answer is computed");
  ASSERT_TRUE(lock) << lock.error().message;
  EXPECT_EQ(logind.inhibited, "sleep:idle|exo|an answer is computed|block");
  EXPECT_TRUE(logind.IsLocked());
  lock->reset();
  // The message that carried the other end may hold it a moment longer.
  for (int i = 0; i < 6000 && logind.IsLocked(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_FALSE(logind.IsLocked());
}

TEST(LoginTest, ARefusalSaysWhatTheServiceSays) {
  FakeLogind logind;
  logind.refuses = true;
  const auto lock = MakeLoginService(logind.address())->KeepAwake("x");
  ASSERT_FALSE(lock);
  EXPECT_EQ(lock.error().code, ErrorCode::kIo);
  EXPECT_NE(lock.error().message.find("not you"), std::string::npos) << lock.error().message;
}

}  // namespace
}  // namespace exo::sys
