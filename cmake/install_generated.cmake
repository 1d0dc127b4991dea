# Part of the install script (cmake/install.cmake): files that the program writes about itself, and the changelogs.
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

# The changelog as people read it is NEWS.gz; changelog.gz has the form of Debian's tools, with the time of the commit where
# SOURCE_DATE_EPOCH tells it. Compressed without a name and a time in it: the same bytes each time.
execute_process(COMMAND ${EXO_RUN} --version OUTPUT_VARIABLE version COMMAND_ERROR_IS_FATAL ANY)
string(REGEX MATCH "[0-9]+[.][0-9]+[.][0-9]+" version "${version}")
string(TIMESTAMP date "%a, %d %b %Y %H:%M:%S +0000" UTC)
file(WRITE "${EXO_STAGING}/changelog" "exo (${version}) stable; urgency=medium

  * What is new is in NEWS.gz.

 -- exo maintainers <maintainers@exo.invalid>  ${date}
")
configure_file("${EXO_CHANGELOG}" "${EXO_STAGING}/NEWS" COPYONLY)
execute_process(COMMAND gzip -9n "${EXO_STAGING}/changelog" "${EXO_STAGING}/NEWS" COMMAND_ERROR_IS_FATAL ANY)
file(INSTALL "${EXO_STAGING}/changelog.gz" "${EXO_STAGING}/NEWS.gz" DESTINATION "${CMAKE_INSTALL_PREFIX}/share/doc/exo"
  PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)

# Completions, where the shells look for them.
foreach(place bash:share/bash-completion/completions:exo zsh:share/zsh/vendor-completions:_exo
    fish:share/fish/vendor_completions.d:exo.fish)
  string(REPLACE ":" ";" place ${place})
  list(GET place 0 shell)
  list(GET place 1 folder)
  list(GET place 2 name)
  execute_process(COMMAND ${EXO_RUN} completions ${shell} OUTPUT_VARIABLE script COMMAND_ERROR_IS_FATAL ANY)
  exo_install_text("${script}" ${folder} ${name})
endforeach()

# Manual pages, compressed without a time.
execute_process(COMMAND ${EXO_RUN} man "${EXO_STAGING}/man1" OUTPUT_QUIET COMMAND_ERROR_IS_FATAL ANY)
file(GLOB pages "${EXO_STAGING}/man1/*.1")
execute_process(COMMAND gzip -9nf ${pages} COMMAND_ERROR_IS_FATAL ANY)
file(GLOB pages "${EXO_STAGING}/man1/*.1.gz")
file(INSTALL ${pages} DESTINATION "${CMAKE_INSTALL_PREFIX}/share/man/man1"
  PERMISSIONS OWNER_READ OWNER_WRITE GROUP_READ WORLD_READ)
