#include "service/sessions.h"

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "net/private_file.h"
#include "service/json.h"
#include "service/secret_text.h"
#include "sys/files.h"
#include "sys/system.h"

namespace exo::service {
namespace {

constexpr int64_t kSessionSeconds = std::chrono::seconds(kSessionTime).count();
constexpr int64_t kRenewSeconds = std::chrono::seconds(std::chrono::days(1)).count();
constexpr Time kWrongTime = std::chrono::minutes(1);

std::string SessionsPath(const std::string& folder) {
  return folder + "/sessions.json";
}

// Of a link, or of the admin token: whoever can read the data folder.
Caller Owner() {
  uint8_t all = 0;
  for (const Scope scope : {Scope::kInfer, Scope::kModels, Scope::kAdmin})
    all |= Caller::ScopeBit(scope);
  return {.scopes = all, .has_session = true};
}

ApiError WrongSecret(std::string message) {
  return {401, std::move(message), "", "invalid_token"};
}

}  // namespace

// Behind the '#', so that the browser sends the token in no request line, which logs would keep.
std::string LinkText(const std::string& address, const std::string& token) {
  return address + "/#/open/" + token;
}

Sessions::Sessions(SessionsOptions options, Gatekeeper& keys)
    : options_(std::move(options)), cookie_name_("exo_session_" + options_.device), keys_(keys) {
  Read();
}

// The queue drops what has not begun.
Sessions::~Sessions() {
  writer_.reset();
  if (unwritten_) (void)sys::WriteFileAtomically(SessionsPath(options_.folder), Text(), 0600);
}

std::string Sessions::NewLink() {
  const Time now = Steady();
  std::erase_if(links_, [now](const Link& link) { return link.expires <= now; });
  if (links_.size() >= kMaxLinks) links_.erase(links_.begin());
  std::string token = NewSecretText();
  links_.push_back({HashOfSecret(token), now + kLinkTime});
  return token;
}

Parsed<std::string> Sessions::OpenLink(std::string_view token, const std::string& address) {
  const Hash256 hash = HashOfSecret(token.substr(0, kMaxSecretText + 1));
  const auto found =
      std::ranges::find_if(links_, [&](const Link& link) { return SameHash(link.hash, hash); });
  const bool is_open = found != links_.end() && found->expires > Steady();
  if (found != links_.end()) links_.erase(found);
  // What nobody can guess is not held up by others' wrong tries from the same address.
  if (is_open) return Open(0);
  TRY(CheckWrong(address));
  NoteWrong(address);
  return std::unexpected(
      WrongSecret("this link was used already, or is older than 10 minutes; get a new one on the "
                  "machine that runs exo, with: exo dashboard"));
}

Parsed<std::string> Sessions::OpenWithKey(std::string_view key, const std::string& address) {
  if (const auto caller = keys_.Identify(key)) return Open(caller->key);
  TRY(CheckWrong(address));
  NoteWrong(address);
  return std::unexpected(WrongSecret(
      "this key is not known here (any more); on the machine that runs exo, exo key add NAME makes "
      "one"));
}

void Sessions::SignOut(std::string_view cookie) {
  const auto found = Find(cookie);
  if (found == sessions_.end()) return;
  sessions_.erase(found);
  Write();
}

bool Sessions::Renew(std::string_view cookie) {
  const auto found = Find(cookie);
  if (found == sessions_.end()) return false;
  const int64_t expires = Now() + kSessionSeconds;
  if (expires - found->second.expires < kRenewSeconds) return false;
  found->second.expires = expires;
  Write();
  return true;
}

std::optional<Caller> Sessions::Recognize(std::string_view cookie) {
  const auto found = Find(cookie);
  if (found == sessions_.end()) return std::nullopt;
  if (found->second.key == 0) {
    Caller owner = Owner();
    owner.session = found->second.alive;
    return owner;
  }
  auto caller = keys_.CallerOf(found->second.key);
  if (!caller) {  // the key was removed: so is what it opened
    sessions_.erase(found);
    Write();
    return std::nullopt;
  }
  caller->has_session = true;
  caller->session = found->second.alive;
  return caller;
}

Sessions::Map::iterator Sessions::Find(std::string_view cookie) {
  if (cookie.empty() || cookie.size() > kMaxSecretText) return sessions_.end();
  const auto found = sessions_.find(HashOfSecret(cookie));
  if (found == sessions_.end()) return found;
  const int64_t left = found->second.expires - Now();
  if (left > 0) {
    // The clock was far ahead when it began, and has been set right: no session is longer for that.
    if (left > kSessionSeconds) found->second.expires -= left - kSessionSeconds;
    return found;
  }
  sessions_.erase(found);
  Write();
  return sessions_.end();
}

std::string Sessions::Open(uint64_t key) {
  std::erase_if(sessions_, [now = Now()](const auto& one) { return one.second.expires <= now; });
  if (sessions_.size() >= kMaxSessions) {
    sessions_.erase(std::ranges::min_element(sessions_, {},
                                             [](const auto& one) { return one.second.expires; }));
  }
  std::string cookie = NewSecretText();
  sessions_[HashOfSecret(cookie)] = {.key = key, .expires = Now() + kSessionSeconds};
  Write();
  return cookie;
}

Parsed<> Sessions::CheckWrong(const std::string& address) {
  const auto found = wrong_.find(address);
  if (found == wrong_.end()) return {};
  const Time left = found->second.since + kWrongTime - Steady();
  if (left <= Time(0)) {
    wrong_.erase(found);
    return {};
  }
  if (found->second.count < kMaxWrong) return {};
  const auto seconds = std::chrono::ceil<std::chrono::seconds>(left).count();
  return std::unexpected(ApiError{
      429, fmt::format("too many wrong links or keys from this device; try again in {} s", seconds),
      "", "too_many_attempts", static_cast<uint32_t>(seconds)});
}

void Sessions::NoteWrong(const std::string& address) {
  if (!wrong_.contains(address) && wrong_.size() >= kMaxWrongAddresses) {
    wrong_.erase(
        std::ranges::min_element(wrong_, {}, [](const auto& one) { return one.second.since; }));
  }
  Wrong& wrong = wrong_[address];
  if (wrong.count++ == 0) wrong.since = Steady();
}

// A file that cannot be read signs everybody out; it is written anew at the next sign-in.
void Sessions::Read() {
  const std::string path = SessionsPath(options_.folder);
  if (!sys::NameExists(path)) return;
  const auto text = net::ReadPrivateFile(path);
  const auto json = text ? ParseJson(*text) : Json();
  if (!json || !json->is_object() || !json->contains("sessions") ||
      !(*json)["sessions"].is_array()) {
    LOG(kWarning, "browsers have to sign in again: {}",
        text ? path + " is not what exo wrote" : text.error().message);
    return;
  }
  for (const Json& one : (*json)["sessions"]) {
    const auto field = [&](const char* name) {
      return one.is_object() && one.contains(name) ? one[name] : Json();
    };
    const Json sha256 = field("sha256"), key = field("key"), expires = field("expires");
    const auto hash = Hash256::FromHex(sha256.is_string() ? std::string(sha256) : "");
    const bool is_whole = hash && key.is_number_unsigned() && expires.is_number_integer();
    if (is_whole && sessions_.size() < kMaxSessions)
      sessions_[*hash] = {.key = key, .expires = expires};
  }
}

void Sessions::Write() {
  unwritten_ = true;
  const bool begun = writer_->Post([path = SessionsPath(options_.folder), text = Text()] {
    const auto written = sys::WriteFileAtomically(path, text, 0600);
    if (!written)
      LOG(kWarning, "browsers have to sign in again after a restart: {}", written.error().message);
  });
  if (!begun) LOG(kWarning, "the sessions of browsers are not on disk yet: the disk is slow");
}

std::string Sessions::Text() const {
  Json list = Json::array();
  for (const auto& [hash, session] : sessions_) {
    list.push_back({{"sha256", hash.Hex()}, {"key", session.key}, {"expires", session.expires}});
  }
  return Dump({{"sessions", list}}) + "\n";
}

int64_t Sessions::Now() const {
  return options_.now ? options_.now() : sys::WallClockSeconds();
}

Time Sessions::Steady() const {
  return options_.steady ? options_.steady() : sys::Now();
}

}  // namespace exo::service
