#include "sys/login.h"

#include <fcntl.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <utility>
#include <vector>

namespace exo::sys {
namespace {

constexpr uint64_t kPatienceUs = 2'000'000;  // with a service that does not answer
constexpr char kService[] = "org.freedesktop.login1";
constexpr char kManager[] = "/org/freedesktop/login1";
constexpr char kManagerInterface[] = "org.freedesktop.login1.Manager";
constexpr char kSessionInterface[] = "org.freedesktop.login1.Session";

struct BusCloser {
  void operator()(sd_bus* bus) const { sd_bus_close_unref(bus); }
};
using Bus = std::unique_ptr<sd_bus, BusCloser>;
struct MessageDropper {
  void operator()(sd_bus_message* message) const { sd_bus_message_unref(message); }
};
using BusMessage = std::unique_ptr<sd_bus_message, MessageDropper>;

// Words of a call that failed.
class BusError {
 public:
  BusError() = default;
  ~BusError() { sd_bus_error_free(&error_); }
  BusError(const BusError&) = delete;
  BusError& operator=(const BusError&) = delete;
  sd_bus_error* get() { return &error_; }
  std::string Text(int code) const {
    return error_.message != nullptr ? error_.message : std::strerror(-code);
  }

 private:
  sd_bus_error error_ = SD_BUS_ERROR_NULL;
};

class DescriptorLock final : public SleepLock {
 public:
  explicit DescriptorLock(int fd) : fd_(fd) {}
  ~DescriptorLock() override { ::close(fd_); }
  DescriptorLock(const DescriptorLock&) = delete;
  DescriptorLock& operator=(const DescriptorLock&) = delete;

 private:
  const int fd_;
};

class Logind final : public LoginService {
 public:
  explicit Logind(std::string address) : address_(std::move(address)) {}

  std::optional<bool> SomebodyWorks() const override {
    const Bus bus = Open();
    if (bus == nullptr) return std::nullopt;
    const auto sessions = Sessions(bus.get());
    if (!sessions) return std::nullopt;
    for (const std::string& session : *sessions) {
      if (IsInUse(bus.get(), session)) return true;
    }
    return false;
  }

  Result<std::unique_ptr<SleepLock>> KeepAwake(const std::string& why) const override {
    const Bus bus = Open();
    if (bus == nullptr) return Fail(ErrorCode::kUnsupported, "there is no system bus");
    BusError error;
    sd_bus_message* raw = nullptr;
    const int called =
        sd_bus_call_method(bus.get(), kService, kManager, kManagerInterface, "Inhibit", error.get(),
                           &raw, "ssss", "sleep:idle", "exo", why.c_str(), "block");
    const BusMessage reply(raw);
    if (called < 0) return Fail(ErrorCode::kIo, "the login service says: {}", error.Text(called));
    int fd = -1;
    const int read = sd_bus_message_read(reply.get(), "h", &fd);
    // The message owns the descriptor that it brought.
    const int kept = read < 0 ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (kept < 0) return Fail(ErrorCode::kIo, "the login service gave no lock");
    return std::make_unique<DescriptorLock>(kept);
  }

 private:
  // Anew for each call: a bus that was restarted is found again. Null: there is none.
  Bus Open() const {
    sd_bus* raw = nullptr;
    if (address_.empty()) {
      if (sd_bus_open_system(&raw) < 0) return nullptr;
    } else {
      if (sd_bus_new(&raw) < 0) return nullptr;
    }
    Bus bus(raw);
    if (!address_.empty() &&
        (sd_bus_set_address(raw, address_.c_str()) < 0 || sd_bus_set_bus_client(raw, 1) < 0 ||
         sd_bus_negotiate_fds(raw, 1) < 0 || sd_bus_start(raw) < 0))
      return nullptr;
    sd_bus_set_method_call_timeout(raw, kPatienceUs);
    return bus;
  }

  // The objects of sessions at a seat, that is at a screen and keyboard of this machine.
  static std::optional<std::vector<std::string>> Sessions(sd_bus* bus) {
    BusError error;
    sd_bus_message* raw = nullptr;
    const int called = sd_bus_call_method(bus, kService, kManager, kManagerInterface,
                                          "ListSessions", error.get(), &raw, "");
    const BusMessage reply(raw);
    if (called < 0 || sd_bus_message_enter_container(reply.get(), 'a', "(susso)") < 0)
      return std::nullopt;
    std::vector<std::string> sessions;
    const char *id = nullptr, *user = nullptr, *seat = nullptr, *path = nullptr;
    uint32_t uid = 0;
    int more = 0;
    while ((more = sd_bus_message_read(reply.get(), "(susso)", &id, &uid, &user, &seat, &path)) >
           0) {
      if (*seat != '\0') sessions.push_back(path);
    }
    if (more < 0) return std::nullopt;
    return sessions;
  }

  // Somebody is logged in there, before the screen, and not idle. One that ends meanwhile is not.
  static bool IsInUse(sd_bus* bus, const std::string& session) {
    int active = 0, idle = 1;
    const auto get = [&](const char* name, int* value) {
      BusError error;
      return sd_bus_get_property_trivial(bus, kService, session.c_str(), kSessionInterface, name,
                                         error.get(), 'b', value) >= 0;
    };
    char* kind = nullptr;
    BusError error;
    const int read = sd_bus_get_property_string(bus, kService, session.c_str(), kSessionInterface,
                                                "Class", error.get(), &kind);
    const std::string session_class = read < 0 ? "" : kind;
    std::free(kind);
    return session_class == "user" && get("Active", &active) && active != 0 &&
           get("IdleHint", &idle) && idle == 0;
  }

  const std::string address_;
};

}  // namespace

std::unique_ptr<LoginService> MakeLoginService(std::string bus) {
  return std::make_unique<Logind>(std::move(bus));
}

}  // namespace exo::sys
