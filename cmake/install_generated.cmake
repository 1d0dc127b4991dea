# Part of the install script (cmake/install.cmake): files that the program writes about itself.
# EXO_RUN: how it runs on this machine; EXO_BINDIR: where it will be, under CMAKE_INSTALL_PREFIX.
set(staged "${CMAKE_CURRENT_BINARY_DIR}/generated-files")
if(NOT CMAKE_CURRENT_BINARY_DIR)
  get_filename_component(staged "${CMAKE_CURRENT_LIST_DIR}/../build/generated-files" ABSOLUTE)
endif()
list(REMOVE_ITEM EXO_RUN "")

foreach(kind user system)
  set(options service install --print --program "${CMAKE_INSTALL_PREFIX}/${EXO_BINDIR}/exo")
  if(kind STREQUAL system)
    list(APPEND options --system)
  endif()
  execute_process(COMMAND ${EXO_RUN} ${options} OUTPUT_VARIABLE unit ERROR_VARIABLE reason
    RESULT_VARIABLE failed)
  # Under a home folder there is a unit for the user alone.
  if(failed)
    message(STATUS "No ${kind} service: ${reason}")
  else()
    file(WRITE "${staged}/${kind}/exo.service" "${unit}")
    file(INSTALL "${staged}/${kind}/exo.service"
      DESTINATION "${CMAKE_INSTALL_PREFIX}/lib/systemd/${kind}"
      PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
  endif()
endforeach()
