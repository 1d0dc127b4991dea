#include "service/admin/pairing.h"

#include "service/admin/errors.h"
#include "service/errors.h"
#include "service/fields.h"
#include "service/waiting.h"

namespace exo::service::admin {
namespace {

constexpr size_t kMaxWord = 512;  // a code, a link, an address or a device

// The body of a POST: what of these the route reads.
struct PairingCall {
  std::string code, at, device;
  bool guest = false;
};

Parsed<PairingCall> ReadPairing(const std::string& body) {
  const auto json = ParseJson(body.empty() ? "{}" : body);
  if (!json) return std::unexpected(ApiError{400, json.error().message, "", "invalid_json"});
  if (!json->is_object())
    return std::unexpected(ApiError{400, "the body must be a JSON object", "", "invalid_json"});
  PairingCall call;
  const auto word = [&](const char* field) -> Parsed<std::string> {
    if (Find(*json, field) == nullptr) return std::string();
    return ReadRequiredString(*json, field, kMaxWord);
  };
  call.code = TRY(word("code"));
  call.at = TRY(word("at"));
  call.device = TRY(word("device"));
  call.guest = TRY(ReadBool(*json, "guest")).value_or(false);
  return call;
}

Waiting::Failure PairingFailure() {
  return [](const Error& error) { return ErrorResponse(FromError(error)); };
}

Route PairingPost(const char* path, std::function<void(const PairingCall&, Waiting&)> ask) {
  return {.method = "POST",
          .path = path,
          .read = [ask = std::move(ask)](HttpRequest request) -> Parsed<Action> {
            return AskNode(PairingFailure(), [call = TRY(ReadPairing(request.body)),
                                              ask](Waiting& waiting) { ask(call, waiting); });
          },
          .listed = false};
}

Route PairingGet(const char* path, std::function<void(Waiting&)> ask) {
  return {.method = "GET",
          .path = path,
          .read = [ask = std::move(ask)](const HttpRequest&) -> Parsed<Action> {
            return AskNode(PairingFailure(), ask);
          },
          .listed = false};
}

Json InviteJson(const node::InviteView& view) {
  return {{"code", view.code},
          {"code_seconds", view.code_seconds},
          {"links", view.links},
          {"link_seconds", view.link_seconds},
          {"guest", view.guest}};
}

Json JoinJson(const node::JoinView& view) {
  return {{"id", view.id.Hex()}, {"name", view.name}, {"guest", view.guest}};
}

Json TrustedJson(const node::TrustedView& view) {
  return {{"id", view.id.Hex()}, {"name", view.name}, {"state", view.state}};
}

Json TrustedListJson(const std::vector<node::TrustedView>& views) {
  Json list = Json::array();
  for (const node::TrustedView& view : views) list.push_back(TrustedJson(view));
  return {{"devices", std::move(list)}};
}

}  // namespace

std::vector<Route> PairingRoutes(node::Api& api) {
  return {PairingPost("/v1/internal/invite",
                      [&api](const PairingCall& call, Waiting& waiting) {
                        waiting.Callback<node::InviteView> (&InviteJson)(
                            api.pairing().Invite(call.guest));
                      }),
          PairingPost("/v1/internal/join",
                      [&api](const PairingCall& call, Waiting& waiting) {
                        api.pairing().Join({.code = call.code, .at = call.at},
                                           waiting.Callback<node::JoinView>(&JoinJson));
                      }),
          PairingPost("/v1/internal/approve",
                      [&api](const PairingCall& call, Waiting& waiting) {
                        api.pairing().Approve(call.device, call.guest,
                                              waiting.Callback<node::TrustedView>(&TrustedJson));
                      }),
          PairingPost("/v1/internal/forget",
                      [&api](const PairingCall& call, Waiting& waiting) {
                        api.pairing().Forget(call.device,
                                             waiting.Callback<node::TrustedView>(&TrustedJson));
                      }),
          PairingPost("/v1/internal/rotate-secret",
                      [&api](const PairingCall&, Waiting& waiting) {
                        api.pairing().RotateSecret(waiting.Done({.body = R"({"ok":true})"}));
                      }),
          PairingPost("/v1/internal/rotate-key",
                      [&api](const PairingCall&, Waiting& waiting) {
                        api.pairing().RotateKey(waiting.Callback<node::TrustedView>(&TrustedJson));
                      }),
          PairingGet("/v1/internal/trust",
                     [&api](Waiting& waiting) {
                       waiting.Callback<std::vector<node::TrustedView>> (&TrustedListJson)(
                           api.pairing().Trusted());
                     }),
          PairingGet("/v1/internal/secret", [&api](Waiting& waiting) {
            waiting.Callback<std::string>([](const std::string& secret) {
              return Json{{"secret", secret}};
            })(api.pairing().Secret());
          })};
}

}  // namespace exo::service::admin
