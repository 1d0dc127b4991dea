#include "service/admin/inspect.h"

#include "service/admin/errors.h"
#include "service/errors.h"
#include "service/findings.h"
#include "service/http/paths.h"
#include "service/request_fields.h"
#include "service/waiting.h"

namespace exo::service::admin {
namespace {

constexpr std::string_view kPlacePrefix = "/v1/internal/models/";

Json PlaceJson(const node::ModelPlace& place) {
  return {{"model", place.name}, {"path", place.path}, {"devices", place.devices}};
}

Waiting::Failure InspectFailure() {
  return [](const Error& error) { return ErrorResponse(FromError(error)); };
}

}  // namespace

std::vector<Route> InspectRoutes(node::Api& api) {
  std::vector<Route> routes;
  routes.push_back({.method = "GET",
                    .path = "/v1/internal/doctor",
                    .read = [&api](const HttpRequest&) -> Parsed<Action> {
                      return AskNode(InspectFailure(), [&api](Waiting& waiting) {
                        using Findings = std::vector<node::Finding>;
                        api.Diagnose([found = waiting.Callback<Findings>(&FindingsJson)](
                                         Findings findings) { found(std::move(findings)); });
                      });
                    },
                    .listed = false});
  routes.push_back({.method = "GET",
                    .path = std::string(kPlacePrefix),
                    .read = [&api](const HttpRequest& request) -> Parsed<Action> {
                      return AskNode(
                          InspectFailure(), [&api, name = WithoutTag(Unescape(request.path.substr(
                                                       kPlacePrefix.size())))](Waiting& waiting) {
                            waiting.Callback<node::ModelPlace> (&PlaceJson)(api.FindPlace(name));
                          });
                    },
                    .listed = false});
  return routes;
}

}  // namespace exo::service::admin
