// Who asks and what it may: the seam between the router, which asks, and the keys of a node
// (service/api_keys.h), which know. Every route says which scope it needs (dialect.h).
//
// Thread: the event loop, except for Caller's questions about itself.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "service/http/error.h"

namespace exo::service {

enum class Scope : uint8_t {
  kOpen,    // whoever can connect: it says that the server is there
  kInfer,   // answers, tokens, lists of models
  kModels,  // what is loaded, added and removed; the state of the cluster
  kAdmin,   // everything
};
// "infer", …; as keys name them.
std::string_view NameOf(Scope scope);

class Gatekeeper;

struct Caller {
  uint64_t key = 0;  // tells keys apart, also across restarts; 0: nobody in particular
  std::string name = {};
  uint8_t scopes = 0;                      // a bit for each: ScopeBit
  Gatekeeper* gate = nullptr;              // of a key, for what it takes; outlives the server
  bool shares_prefixes = false;            // with other keys and those who have none
  bool has_session = false;                // a browser that has signed in, and shows its cookie
  std::weak_ptr<const void> session = {};  // lives until that browser signs out

  static constexpr uint8_t ScopeBit(Scope scope) {
    return static_cast<uint8_t>(1U << static_cast<unsigned>(scope));
  }
  bool May(Scope scope) const {
    return scope == Scope::kOpen || (scopes & (ScopeBit(scope) | ScopeBit(Scope::kAdmin))) != 0;
  }
  // A stream has no end of its own: that of its session or key is one. Thread: the event loop.
  bool IsGone() const;
};

class Gatekeeper {
 public:
  virtual ~Gatekeeper() = default;
  // Whose `credential` this is. Nothing: nobody's.
  virtual std::optional<Caller> Identify(std::string_view credential) = 0;
  // The holder of the key with this number (Caller::key). Nothing: the key is gone.
  virtual std::optional<Caller> CallerOf(uint64_t key) = 0;
  // Counts a request of a key. Errors: 429, when it comes too soon, and when to try again.
  virtual Parsed<> Admit(const Caller& caller) = 0;
  // Whether something may be computed for a key now. Errors: 429, when it has taken its tokens of
  // today, and when to try again.
  virtual Parsed<> CheckQuota(const Caller& caller) = 0;
  // Tokens that the key may still take today. Nothing: as many as it likes.
  virtual std::optional<uint64_t> TokensLeft(const Caller& caller) = 0;
  virtual void CountTokens(const Caller& caller, uint64_t tokens) = 0;
};

inline bool Caller::IsGone() const {
  return (has_session && session.expired()) ||
         (key != 0 && gate != nullptr && !gate->CallerOf(key));
}

// Knows the browsers that have signed in (service/sessions.h).
class SessionGate {
 public:
  virtual ~SessionGate() = default;
  virtual const std::string& cookie_name() const = 0;
  // Who has signed in with the browser that shows this cookie. Nothing: nobody, or not any more.
  virtual std::optional<Caller> Recognize(std::string_view cookie) = 0;
};

// Every key begins so: one that is not known (any more) is told apart from the words that programs
// send where no key is needed.
inline constexpr std::string_view kKeyPrefix = "exo-";

}  // namespace exo::service
