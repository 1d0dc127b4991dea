# Part of the install script (cmake/install.cmake): files that the program writes about itself, and the changelog.
# EXO_RUN: how it runs on this machine; EXO_BINDIR: where it will be, under CMAKE_INSTALL_PREFIX; EXO_STAGING: a folder for
# what is installed from there; EXO_CHANGELOG: the file.
file(REMOVE_RECURSE "${EXO_STAGING}")

# exo_install_text(TEXT FOLDER NAME): a file of this text in a folder under the prefix.
function(exo_install_text text folder name)
  file(WRITE "${EXO_STAGING}/${folder}/${name}" "${text}")
  file(INSTALL "${EXO_STAGING}/${folder}/${name}" DESTINATION "${CMAKE_INSTALL_PREFIX}/${folder}"
    PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
endfunction()

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
    exo_install_text("${unit}" lib/systemd/${kind} exo.service)
  endif()
endforeach()

# Compressed without a name and a time in it: the same bytes each time.
file(COPY "${EXO_CHANGELOG}" DESTINATION "${EXO_STAGING}")
file(RENAME "${EXO_STAGING}/CHANGELOG.md" "${EXO_STAGING}/changelog")
execute_process(COMMAND gzip -9n "${EXO_STAGING}/changelog" COMMAND_ERROR_IS_FATAL ANY)
file(INSTALL "${EXO_STAGING}/changelog.gz" DESTINATION "${CMAKE_INSTALL_PREFIX}/share/doc/exo"
  PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
