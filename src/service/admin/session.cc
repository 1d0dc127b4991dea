#include "service/admin/session.h"

#include <algorithm>
#include <utility>

#include "node/version.h"
#include "service/admin/errors.h"
#include "service/fields.h"
#include "service/http/cookies.h"
#include "service/waiting.h"

namespace exo::service::admin {
namespace {

constexpr const char* kSessionPath = "/v1/session";
constexpr const char* kSessionOk = R"({"ok":true})";

// The Set-Cookie field; an empty value takes the cookie away.
std::string CookieField(const std::string& name, std::string_view value, bool tls) {
  const auto age =
      value.empty() ? 0 : std::chrono::duration_cast<std::chrono::seconds>(kSessionTime).count();
  return fmt::format("{}={}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{}", name, value, age,
                     tls ? "; Secure" : "");
}

std::string AddressOf(const HttpRequest& request) {
  return request.client.substr(0, request.client.find(' '));
}

Json DeviceJson(const node::ClusterView& cluster) {
  const auto self = std::ranges::find(cluster.nodes, cluster.self,
                                      [](const node::NodeView& one) { return one.record.id; });
  return {{"id", cluster.self.Hex()},
          {"name", self == cluster.nodes.end() ? "" : self->record.name},
          {"version", node::kVersion}};
}

// Strangers of other machines learn that something is here, and nothing else.
Json SessionJson(const Caller& caller, const node::Api& api, bool tls) {
  Json json = {{"signed_in", caller.has_session},
               {"scopes", Json::array()},
               {"name", caller.name},
               {"local", !tls}};
  for (const Scope scope : {Scope::kInfer, Scope::kModels, Scope::kAdmin}) {
    if (caller.May(scope)) json["scopes"].push_back(NameOf(scope));
  }
  if (!tls || caller.has_session) json["device"] = DeviceJson(api.Cluster());
  return json;
}

// {"token"} of a link, or {"key"}.
struct SignIn {
  std::string token, key;
};
Parsed<SignIn> ReadSignIn(const std::string& body) {
  const auto json = ParseJson(body);
  if (!json) return std::unexpected(ApiError{400, json.error().message, "", "invalid_json"});
  if (!json->is_object())
    return std::unexpected(ApiError{400, "the body must be a JSON object", "", "invalid_json"});
  const bool token = Find(*json, "token") != nullptr, key = Find(*json, "key") != nullptr;
  if (token == key)
    return BadValue("token", "the body has either 'token', of a link, or 'key', an API key");
  SignIn in;
  (token ? in.token : in.key) = TRY(ReadRequiredString(*json, token ? "token" : "key", 512));
  return in;
}

}  // namespace

std::vector<Route> SessionRoutes(node::Api& api, Sessions& sessions, SessionRoutesOptions options) {
  const bool tls = options.tls;
  const auto set_cookie = [&sessions, tls](std::string_view value) -> Headers {
    return {{"Set-Cookie", CookieField(sessions.cookie_name(), value, tls)}};
  };
  Route show{.method = "GET", .path = kSessionPath, .scope = Scope::kOpen, .listed = false};
  show.read = [&api, &sessions, tls, set_cookie](HttpRequest request) -> Parsed<Action> {
    return AnswerNow([=, &api, &sessions] {
      HttpResponse response{.body = Dump(SessionJson(request.caller, api, tls))};
      for (const auto cookie : CookiesNamed(request, sessions.cookie_name())) {
        if (request.caller.has_session && sessions.Renew(cookie))
          response.headers = set_cookie(cookie);
      }
      return response;
    });
  };
  Route open{.method = "POST", .path = kSessionPath, .scope = Scope::kOpen, .listed = false};
  open.read = [&sessions, set_cookie](HttpRequest request) -> Parsed<Action> {
    return AnswerNow([in = TRY(ReadSignIn(request.body)), address = AddressOf(request), &sessions,
                      set_cookie]() -> HttpResponse {
      const auto cookie = in.key.empty() ? sessions.OpenLink(in.token, address)
                                         : sessions.OpenWithKey(in.key, address);
      if (!cookie) return ErrorResponse(cookie.error());
      return {.body = kSessionOk, .headers = set_cookie(*cookie)};
    });
  };
  Route close{.method = "DELETE", .path = kSessionPath, .scope = Scope::kOpen, .listed = false};
  close.read = [&sessions, set_cookie](HttpRequest request) -> Parsed<Action> {
    return AnswerNow([=, &sessions]() -> HttpResponse {
      for (const auto cookie : CookiesNamed(request, sessions.cookie_name()))
        if (request.caller.has_session) sessions.SignOut(cookie);
      return {.body = kSessionOk, .headers = set_cookie("")};
    });
  };
  Route link{.method = "POST", .path = "/v1/internal/session-link", .listed = false};
  link.read = [&sessions, addresses = options.addresses](const HttpRequest&) -> Parsed<Action> {
    return AnswerNow([=, &sessions]() -> HttpResponse {
      const std::string token = sessions.NewLink();
      Json urls = Json::array();
      for (const std::string& address : addresses()) urls.push_back(LinkText(address, token));
      const Json url = urls[0];
      urls.erase(0);
      return {.body = Dump({{"url", url},
                            {"others", urls},
                            {"seconds", std::chrono::seconds(kLinkTime).count()}})};
    });
  };
  return {std::move(show), std::move(open), std::move(close), std::move(link)};
}

}  // namespace exo::service::admin
