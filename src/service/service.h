// The API of a node: a server with every dialect that it speaks, and the page for browsers.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "node/api.h"
#include "service/http/http_server.h"
#include "service/page_files.h"
#include "service/sessions.h"
#include "service/settings_desk.h"

namespace exo::service {

// What is served beside the node's API. What is empty or null is not; what is not must outlive the
// server.
struct ServiceParts {
  PageFiles page = {};
  Sessions* sessions = nullptr;
  SettingsDesk* settings = nullptr;
  std::string folder;  // the node's, with the keys and the audit log
  // Where the page is served, as URLs: for browsers of this machine, then for those of others.
  std::function<std::vector<std::string>()> addresses = nullptr;
};

// `context` and `api` must outlive the server. Not listening yet: HttpServer::Start.
std::unique_ptr<HttpServer> MakeServer(boost::asio::io_context& context, node::Api& api,
                                       HttpOptions options = {}, const ServiceParts& parts = {});

}  // namespace exo::service
