// GET /v1/internal/logs: the last lines of the log, then further ones as they come.
#pragma once

#include <boost/asio/io_context.hpp>

#include "service/http/dialect.h"

namespace exo::service::admin {

// `context` must outlive the server.
Route LogsRoute(boost::asio::io_context& context);

}  // namespace exo::service::admin
