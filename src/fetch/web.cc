#include "fetch/web.h"

#include <curl/curl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/check.h"
#include "fetch/address.h"
#include "sys/system.h"

namespace exo::fetch {
namespace {

constexpr long kMaxRedirects = 8;
constexpr size_t kMaxHeaderBytes = 128u << 10;  // of all answers to one request
constexpr const char* kUserAgent = "exo";
constexpr Time kLookForCancel = std::chrono::milliseconds(50);
constexpr Time kFirstPause = std::chrono::milliseconds(200);  // before another try; then doubled

// libcurl wants to be told once, before any thread uses it.
void StartCurl() {
  static const CURLcode started = curl_global_init(CURL_GLOBAL_DEFAULT);
  CHECK(started == CURLE_OK);
}

long Milliseconds(Time time) {
  return static_cast<long>(std::chrono::duration_cast<std::chrono::milliseconds>(time).count());
}

std::string Trimmed(std::string_view text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0)
    text.remove_suffix(1);
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.front())) != 0)
    text.remove_prefix(1);
  return std::string(text);
}

// Of HOST or HOST:PORT.
std::string NameOf(const std::string& host) {
  const size_t colon = host.rfind(':');
  const bool has_port = colon != host.npos && host.find(']', colon) == host.npos;
  return host.substr(0, has_port ? colon : host.npos);
}

// As libcurl finds one.
bool HasProxy() {
  return std::ranges::any_of(
      std::array{"https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY"},
      [](const char* name) {
        const char* value = std::getenv(name);
        return value != nullptr && *value != '\0';
      });
}

// The bytes of an address: 4, 16, or none for what is no internet address.
std::span<const uint8_t> BytesOf(const curl_sockaddr& address) {
  if (address.family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address.addr);
    return {reinterpret_cast<const uint8_t*>(&v4.sin_addr), 4};
  }
  if (address.family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address.addr);
    return {reinterpret_cast<const uint8_t*>(&v6.sin6_addr), 16};
  }
  return {};
}

}  // namespace

struct Request::Impl {
  CURL* easy = nullptr;
  curl_slist* lines = nullptr;
  std::string url;
  std::function<bool(std::span<const std::byte>)> take;
  std::vector<HeaderFields> answers;  // fields of each, redirects first
  size_t header_bytes = 0;
  bool configured = false;  // by this device's user
  bool address_refused = false;
  char error[CURL_ERROR_SIZE] = {};

  static size_t OnHeaderLine(char* data, size_t size, size_t count, void* self_pointer) {
    Impl& self = *static_cast<Impl*>(self_pointer);
    const std::string_view line(data, size * count);
    self.header_bytes += line.size();
    if (self.header_bytes > kMaxHeaderBytes) return 0;  // ends the transfer
    if (line.starts_with("HTTP/")) {
      self.answers.emplace_back();
    } else if (const size_t colon = line.find(':'); colon != line.npos && !self.answers.empty()) {
      std::string name(line.substr(0, colon));
      std::ranges::transform(name, name.begin(), [](unsigned char c) { return std::tolower(c); });
      self.answers.back()[name] = Trimmed(line.substr(colon + 1));
    }
    return line.size();
  }

  static size_t OnBodyPiece(char* data, size_t size, size_t count, void* self_pointer) {
    Impl& self = *static_cast<Impl*>(self_pointer);
    const std::span bytes(reinterpret_cast<const std::byte*>(data), size * count);
    return self.take == nullptr || self.take(bytes) ? bytes.size() : 0;
  }

  // The host that the user configured may be anywhere; one that it sends on to must be public like
  // any other. Behind a proxy the proxy's address is all that is seen.
  bool MayBeAnywhere() const {
    return configured && (NameOf(HostOf(UrlNow())) == NameOf(HostOf(url)) || HasProxy());
  }
  // Behind the redirects so far.
  std::string UrlNow() const {
    const char* now = nullptr;
    return curl_easy_getinfo(easy, CURLINFO_EFFECTIVE_URL, &now) == CURLE_OK && now != nullptr
               ? now
               : url;
  }

  // Where a connection really goes: names have been resolved and redirects followed.
  static curl_socket_t OpenSocket(void* self_pointer, curlsocktype, curl_sockaddr* address) {
    Impl& self = *static_cast<Impl*>(self_pointer);
    if (self.MayBeAnywhere() || IsPublicAddress(BytesOf(*address)))
      return ::socket(address->family, address->socktype | SOCK_CLOEXEC, address->protocol);
    self.address_refused = true;
    return CURL_SOCKET_BAD;
  }

  template <class Value>
  void Set(CURLoption option, Value value) {
    CHECK(curl_easy_setopt(easy, option, value) == CURLE_OK);
  }
  Result<void> OutcomeOf(CURLcode code) const;
};

Request::Request(const WebOptions& options, const Target& target)
    : impl_(std::make_unique<Impl>()) {
  StartCurl();
  Impl& impl = *impl_;
  impl.url = target.url;
  impl.easy = curl_easy_init();
  CHECK(impl.easy != nullptr);
  const bool plain = target.url.starts_with("http://");
  impl.Set(CURLOPT_URL, target.url.c_str());
  impl.Set(CURLOPT_PROTOCOLS_STR, plain ? "http,https" : "https");
  impl.Set(CURLOPT_REDIR_PROTOCOLS_STR, plain ? "http,https" : "https");
  impl.Set(CURLOPT_FOLLOWLOCATION, 1L);
  impl.Set(CURLOPT_MAXREDIRS, kMaxRedirects);
  // Streams of one HTTP/2 connection share its window: parts come faster over several.
  impl.Set(CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  impl.Set(CURLOPT_NOSIGNAL, 1L);
  impl.Set(CURLOPT_USERAGENT, kUserAgent);
  impl.Set(CURLOPT_CONNECTTIMEOUT_MS, Milliseconds(options.connect));
  impl.Set(CURLOPT_LOW_SPEED_LIMIT, 1L);
  impl.Set(CURLOPT_LOW_SPEED_TIME, std::max(1L, Milliseconds(options.stall) / 1000));
  impl.Set(CURLOPT_ERRORBUFFER, impl.error);
  impl.Set(CURLOPT_PRIVATE, static_cast<void*>(this));
  impl.Set(CURLOPT_HEADERFUNCTION, &Impl::OnHeaderLine);
  impl.Set(CURLOPT_HEADERDATA, static_cast<void*>(&impl));
  impl.Set(CURLOPT_WRITEFUNCTION, &Impl::OnBodyPiece);
  impl.Set(CURLOPT_WRITEDATA, static_cast<void*>(&impl));
  if (!options.ca_file.empty()) impl.Set(CURLOPT_CAINFO, options.ca_file.c_str());
  if (!target.token.empty()) {
    impl.Set(CURLOPT_HTTPAUTH, static_cast<long>(CURLAUTH_BEARER));
    impl.Set(CURLOPT_XOAUTH2_BEARER, target.token.c_str());
  }
  impl.configured = target.reach == Reach::kConfigured;
  if (!impl.configured) impl.Set(CURLOPT_PROXY, "");
  impl.Set(CURLOPT_OPENSOCKETFUNCTION, &Impl::OpenSocket);
  impl.Set(CURLOPT_OPENSOCKETDATA, static_cast<void*>(&impl));
}

Request::~Request() {
  curl_easy_cleanup(impl_->easy);
  curl_slist_free_all(impl_->lines);
}

void Request::SetRange(uint64_t begin, uint64_t end) {
  impl_->Set(CURLOPT_RANGE, fmt::format("{}-{}", begin, end - 1).c_str());
}

void Request::AddHeader(const std::string& line) {
  impl_->lines = curl_slist_append(impl_->lines, line.c_str());
  CHECK(impl_->lines != nullptr);
  impl_->Set(CURLOPT_HTTPHEADER, impl_->lines);
}

void Request::OnBody(std::function<bool(std::span<const std::byte>)> take) {
  impl_->take = std::move(take);
}

unsigned Request::status() const {
  long status = 0;
  curl_easy_getinfo(impl_->easy, CURLINFO_RESPONSE_CODE, &status);
  return static_cast<unsigned>(status);
}

std::string Request::Header(const std::string& name) const {
  for (auto answer = impl_->answers.rbegin(); answer != impl_->answers.rend(); ++answer) {
    if (const auto field = answer->find(name); field != answer->end()) return field->second;
  }
  return {};
}

HeaderFields Request::Headers() const {
  HeaderFields all;
  for (const auto& answer : impl_->answers) {
    for (const auto& [name, value] : answer) all[name] = value;
  }
  return all;
}

Result<void> Request::Impl::OutcomeOf(CURLcode code) const {
  const std::string host = HostOf(UrlNow());
  const char* why = error[0] != '\0' ? error : curl_easy_strerror(code);
  if (address_refused && code != CURLE_OK) {
    return Fail(
        ErrorCode::kInvalid,
        "{} is refused: it leads to a private address, and exo fetches nothing from there, since "
        "a page or a program that uses its API could have asked for it; download the file yourself "
        "and add it by its path: exo pull PATH",
        url);
  }
  switch (code) {
    case CURLE_OK:
      return {};
    case CURLE_WRITE_ERROR:
      if (header_bytes > kMaxHeaderBytes)
        return Fail(ErrorCode::kCorrupt, "{} sends an endless header", host);
      return Fail(ErrorCode::kCancelled, "{}: {}", host, why);
    case CURLE_PEER_FAILED_VERIFICATION:
      return Fail(ErrorCode::kInvalid,
                  "the certificate of {} is not trusted ({}); name the authority's file in "
                  "SSL_CERT_FILE if it is your own",
                  host, why);
    case CURLE_UNSUPPORTED_PROTOCOL:
    case CURLE_URL_MALFORMAT:
    case CURLE_TOO_MANY_REDIRECTS:
      return Fail(ErrorCode::kInvalid, "{}: {}", url, why);
    case CURLE_COULDNT_RESOLVE_HOST:
      return Fail(ErrorCode::kDisconnected, "there is no host {}: is this device online?", host);
    default:
      return Fail(ErrorCode::kDisconnected, "{}: {}", host, why);
  }
}

struct Transfers::Impl {
  CURLM* multi = curl_multi_init();
};

Transfers::Transfers() : impl_(std::make_unique<Impl>()) {
  StartCurl();
  CHECK(impl_->multi != nullptr);
}

Transfers::~Transfers() {
  curl_multi_cleanup(impl_->multi);
}

void Transfers::Begin(Request& request) {
  CHECK(curl_multi_add_handle(impl_->multi, request.impl_->easy) == CURLM_OK);
}

void Transfers::Remove(Request& request) {
  curl_multi_remove_handle(impl_->multi, request.impl_->easy);
}

std::vector<Transfers::Ended> Transfers::Run(Time patience) {
  int running = 0, waiting = 0;
  CHECK(curl_multi_perform(impl_->multi, &running) == CURLM_OK);
  std::vector<Ended> ended;
  const auto collect = [&] {
    while (const CURLMsg* message = curl_multi_info_read(impl_->multi, &waiting)) {
      if (message->msg != CURLMSG_DONE) continue;
      const CURLcode code = message->data.result;  // the message goes with its handle
      CURL* easy = message->easy_handle;
      char* pointer = nullptr;
      curl_easy_getinfo(easy, CURLINFO_PRIVATE, &pointer);
      curl_multi_remove_handle(impl_->multi, easy);
      auto* request = reinterpret_cast<Request*>(pointer);
      ended.push_back({request, request->impl_->OutcomeOf(code)});
    }
  };
  collect();
  if (!ended.empty()) return ended;
  const int milliseconds = static_cast<int>(Milliseconds(patience));
  CHECK(curl_multi_poll(impl_->multi, nullptr, 0, milliseconds, nullptr) == CURLM_OK);
  CHECK(curl_multi_perform(impl_->multi, &running) == CURLM_OK);
  collect();
  return ended;
}

namespace {

bool IsCancelled(const GetOptions& options) {
  return options.cancel != nullptr && options.cancel->load();
}

std::unexpected<Error> Cancelled() {
  return Fail(ErrorCode::kCancelled, "the pull was canceled");
}

// Of one attempt.
Result<void> Await(Transfers& transfers, Request& request, const GetOptions& options) {
  transfers.Begin(request);
  for (;;) {
    const auto ended = transfers.Run(kLookForCancel);
    if (!ended.empty()) return ended[0].outcome;
    if (!IsCancelled(options)) continue;
    transfers.Remove(request);
    return Cancelled();
  }
}

Result<Response> GetOnce(const WebOptions& web, const Target& target, const GetOptions& options) {
  Transfers transfers;
  Request request(web, target);
  Response response;
  bool too_long = false;
  for (const std::string& line : options.headers) request.AddHeader(line);
  if (options.end > options.begin) request.SetRange(options.begin, options.end);
  request.OnBody([&](std::span<const std::byte> bytes) {
    too_long = response.body.size() + bytes.size() > options.limit;
    if (!too_long) response.body.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    return !too_long;
  });
  const auto outcome = Await(transfers, request, options);
  if (too_long) {
    return Fail(ErrorCode::kCorrupt, "{} answers with more than {}", HostOf(target.url),
                FormatSize(options.limit));
  }
  if (!outcome) return std::unexpected(outcome.error());
  response.status = request.status();
  response.headers = request.Headers();
  return response;
}

bool MayComeRight(const Result<Response>& response) {
  if (!response) return response.error().code == ErrorCode::kDisconnected;
  return response->status >= 500 || response->status == 429;
}

}  // namespace

Result<Response> Get(const WebOptions& web, const Target& target, const GetOptions& options) {
  for (unsigned attempt = 1;; ++attempt) {
    auto response = GetOnce(web, target, options);
    if (attempt >= options.tries || !MayComeRight(response)) return response;
    const Time until = sys::Now() + kFirstPause * (1 << (attempt - 1));
    Transfers nothing;  // to wait without holding up a cancel
    while (sys::Now() < until) {
      if (IsCancelled(options)) return Cancelled();
      nothing.Run(kLookForCancel);
    }
  }
}

std::string HostOf(const std::string& url) {
  const size_t scheme = url.find("://");
  const size_t begin = scheme == url.npos ? 0 : scheme + 3;
  return url.substr(begin, url.find_first_of("/?#", begin) - begin);
}

}  // namespace exo::fetch
