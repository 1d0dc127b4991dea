#include "service/service.h"

#include "service/admin/admin.h"
#include "service/admin/desk.h"
#include "service/admin/events.h"
#include "service/admin/logs.h"
#include "service/admin/requests.h"
#include "service/admin/session.h"
#include "service/admin/topics.h"
#include "service/anthropic/anthropic.h"
#include "service/conversations/conversations.h"
#include "service/llama_server/llama_server.h"
#include "service/mcp/mcp.h"
#include "service/ollama/ollama.h"
#include "service/openai/models.h"
#include "service/openai/openai.h"
#include "service/page/page.h"

namespace exo::service {
namespace {

constexpr std::chrono::milliseconds kModelsPace{1000};
constexpr std::chrono::milliseconds kRequestsPace{250};

// What pages follow. Those of several dialects meet here.
std::vector<admin::Topic> Topics(node::Api& api) {
  std::vector<admin::Topic> topics = admin::ClusterTopics(api);
  topics.push_back({"models", kModelsPace, [&api]() -> admin::LiveState {
                      return {Dump(openai::ModelListJson(api.Models()))};
                    }});
  topics.push_back(
      {"requests", kRequestsPace,
       [&api]() -> admin::LiveState {
         return {.data = "", .key = std::to_string(api.RequestListVersion())};
       },
       [&api](const Caller& caller) { return Dump(admin::RequestsJson(api, caller)); }});
  return topics;
}

}  // namespace

std::unique_ptr<HttpServer> MakeServer(boost::asio::io_context& context, node::Api& api,
                                       HttpOptions options, const ServiceParts& parts) {
  options.sessions = parts.sessions;
  const bool tls = options.tls != nullptr;
  auto server = std::make_unique<HttpServer>(context, std::move(options));
  server->Add(openai::MakeDialect(api));
  server->Add(anthropic::MakeDialect(api));
  server->Add(ollama::MakeDialect(api));
  server->Add(llama_server::MakeDialect(api));
  server->Add(mcp::MakeDialect(api));
  Dialect admin = admin::MakeDialect(api, server->stats());
  const auto add = [&admin](Route route) { admin.routes.push_back(std::move(route)); };
  add(admin::EventsRoute(
      {.api = api, .states = std::make_shared<admin::LiveStates>(context, Topics(api))}));
  if (parts.sessions != nullptr) {
    for (Route& route :
         admin::SessionRoutes(api, *parts.sessions, {.tls = tls, .addresses = parts.addresses}))
      add(std::move(route));
  }
  add(admin::LogsRoute(context));
  for (Route& route : admin::DeskRoutes({.worker = std::make_shared<Worker>(context),
                                         .folder = parts.folder,
                                         .settings = parts.settings}))
    add(std::move(route));
  for (Route& route : conversations::MakeRoutes(api, admin.render)) add(std::move(route));
  server->Add(std::move(admin));
  server->Add(page::MakeDialect(parts.page));
  return server;
}

}  // namespace exo::service
