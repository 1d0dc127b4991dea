// Browsers that have signed in to the page, and how they do: by a link that works once, which
// commands of this machine show, or by an API key. A browser is known by its cookie.
//
// A link's token and a cookie are secret texts (service/secret_text.h). Tokens live in memory for
// ten minutes of the steady clock; of cookies FOLDER/sessions.json (0600) has the hashes, so that a
// browser stays signed in across restarts of the node. The cookie's name has the node's id in it:
// browsers send a host's cookies to every port of it, and two nodes of one machine would sign each
// other's browsers out.
//
// Thread: the event loop. The file is written on a thread of its own.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/ids.h"
#include "base/units.h"
#include "service/http/access.h"
#include "sys/task_queue.h"

namespace exo::service {

// Far more browsers than a home has; the one that has been away longest makes room.
inline constexpr size_t kMaxSessions = 64;
inline constexpr size_t kMaxLinks = 16;  // open ones; the oldest makes room
inline constexpr std::chrono::minutes kLinkTime{10};
inline constexpr std::chrono::days kSessionTime{30};
// Wrong tokens and keys in a minute from one address: people mistype, nobody pastes faster.
inline constexpr int kMaxWrong = 10;
// Addresses that are remembered for it; the one that was wrong longest ago makes room.
inline constexpr size_t kMaxWrongAddresses = 256;

// The link to the page of a server ("http://127.0.0.1:52415") that signs a browser in.
std::string LinkText(const std::string& address, const std::string& token);

struct SessionsOptions {
  std::string folder;
  std::string device;                      // id of the node, in short; a part of the name
  std::function<int64_t()> now = nullptr;  // seconds since 1970; null: the system's clock
  std::function<Time()> steady = nullptr;  // null: sys::Now
};

class Sessions final : public SessionGate {
 public:
  // Reads the sessions of an earlier run. `keys` must outlive it.
  Sessions(SessionsOptions options, Gatekeeper& keys);
  ~Sessions() override;  // writes what is not written

  // The token of a new link, good for kLinkTime and one browser.
  std::string NewLink();
  // Sign a browser in; the value of its cookie. `address`: where it asks from, for the limit.
  // Errors: 401 (no such link any more; no such key), 429 (too many wrong ones).
  Parsed<std::string> OpenLink(std::string_view token, const std::string& address);
  Parsed<std::string> OpenWithKey(std::string_view key, const std::string& address);
  void SignOut(std::string_view cookie);
  // True: the session is extended, and the browser is to keep its cookie for another kSessionTime.
  // So a browser that is used stays signed in; told once a day.
  bool Renew(std::string_view cookie);

  const std::string& cookie_name() const override { return cookie_name_; }
  std::optional<Caller> Recognize(std::string_view cookie) override;

 private:
  struct Session {
    uint64_t key = 0;     // of the API key that opened it; 0: a link did
    int64_t expires = 0;  // seconds since 1970
    std::shared_ptr<char> alive = std::make_shared<char>();  // Caller::session
  };
  struct Link {
    Hash256 hash;
    Time expires;
  };
  struct Wrong {
    int count = 0;
    Time since{};
  };
  using Map = std::map<Hash256, Session>;

  Map::iterator Find(std::string_view cookie);
  std::string Open(uint64_t key);
  Parsed<> CheckWrong(const std::string& address);
  void NoteWrong(const std::string& address);
  void Read();
  void Write();
  std::string Text() const;
  int64_t Now() const;
  Time Steady() const;

  const SessionsOptions options_;
  const std::string cookie_name_;
  Gatekeeper& keys_;
  Map sessions_;
  std::vector<Link> links_;  // oldest first
  std::map<std::string, Wrong> wrong_;
  bool unwritten_ = false;
  std::unique_ptr<sys::TaskQueue> writer_ = std::make_unique<sys::TaskQueue>(1);
};

}  // namespace exo::service
