// The API of a node: a server with every dialect that it speaks.
#pragma once

#include <memory>

#include "node/api.h"
#include "service/http/http_server.h"

namespace exo::service {

// `context` and `api` must outlive the server. Not listening yet: HttpServer::Start.
std::unique_ptr<HttpServer> MakeServer(boost::asio::io_context& context, node::Api& api,
                                       HttpOptions options = {});

}  // namespace exo::service
