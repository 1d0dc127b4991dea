// Signing in to the page: /v1/session for the page itself, and the link that commands of this
// machine show.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "node/api.h"
#include "service/http/dialect.h"
#include "service/sessions.h"

namespace exo::service::admin {

struct SessionRoutesOptions {
  bool tls = false;  // the server's
  // Where the page is served, as URLs: for browsers of this machine, then for those of others.
  std::function<std::vector<std::string>()> addresses;
};

// `api` and `sessions` must outlive the server.
std::vector<Route> SessionRoutes(node::Api& api, Sessions& sessions, SessionRoutesOptions options);

}  // namespace exo::service::admin
