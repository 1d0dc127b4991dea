#include "service/service.h"

#include "service/admin/admin.h"
#include "service/anthropic/anthropic.h"
#include "service/conversations/conversations.h"
#include "service/llama_server/llama_server.h"
#include "service/mcp/mcp.h"
#include "service/ollama/ollama.h"
#include "service/openai/openai.h"

namespace exo::service {

std::unique_ptr<HttpServer> MakeServer(boost::asio::io_context& context, node::Api& api,
                                       HttpOptions options) {
  auto server = std::make_unique<HttpServer>(context, std::move(options));
  server->Add(openai::MakeDialect(api));
  server->Add(anthropic::MakeDialect(api));
  server->Add(ollama::MakeDialect(api));
  server->Add(llama_server::MakeDialect(api));
  server->Add(mcp::MakeDialect(api));
  Dialect admin = admin::MakeDialect(api, server->stats());
  for (Route& route : conversations::MakeRoutes(api, admin.render))
    admin.routes.push_back(std::move(route));
  server->Add(std::move(admin));
  return server;
}

}  // namespace exo::service
