# What is installed, and the Debian package (cpack -G DEB).
include(GNUInstallDirs)
set(package ${CMAKE_CURRENT_LIST_DIR})

install(TARGETS weir RUNTIME DESTINATION bin)
install(FILES ${package}/weir.yaml DESTINATION /etc/weir)
install(FILES ${package}/../systemd/weir.service ${package}/../systemd/weir.socket DESTINATION /lib/systemd/system)
install(FILES ${package}/../systemd/weir.sysusers DESTINATION /usr/lib/sysusers.d RENAME weir.conf)
install(FILES ${package}/copyright DESTINATION /usr/share/doc/weir)
install(FILES ${CMAKE_SOURCE_DIR}/deploy/prometheus/weir.rules.yml DESTINATION /usr/share/doc/weir/examples)
install(FILES ${CMAKE_SOURCE_DIR}/deploy/runbook.md ${CMAKE_SOURCE_DIR}/deploy/sizing.md DESTINATION /usr/share/doc/weir)
install(DIRECTORY ${CMAKE_SOURCE_DIR}/conf/examples/ DESTINATION /usr/share/doc/weir/examples FILES_MATCHING PATTERN "*.yaml")

# What the program itself prints: its manual pages and its completion, from the tables that its parser has.
file(MAKE_DIRECTORY ${CMAKE_BINARY_DIR}/printed)
install(CODE "set(weir \"$<TARGET_FILE:weir>\")\nset(printed \"${CMAKE_BINARY_DIR}/printed\")\nset(changelog \"${package}/changelog\")")
install(SCRIPT ${package}/print.cmake)

set(CPACK_PACKAGE_NAME weir)
set(CPACK_PACKAGE_VERSION ${PROJECT_VERSION})
set(CPACK_PACKAGE_CONTACT "The Weir authors <weir@packages.invalid>")
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "reverse proxy that limits: rates, concurrency, breakers, retries")
set(CPACK_PACKAGE_DESCRIPTION "Weir stands in front of one app and lets in what it can take:
rate limits, concurrency that adapts, circuit breakers, retries with a
budget; limits may be shared between replicas through Redis.
HTTP/1.1, HTTP/2, gRPC and WebSocket, TLS on both sides, policies that
are reloaded while calls go on.")
set(CPACK_GENERATOR DEB)
set(CPACK_STRIP_FILES ON)
set(CPACK_PROJECT_CONFIG_FILE ${package}/project.cmake)
set(CPACK_PACKAGE_FILE_NAME weir_${PROJECT_VERSION}_${CMAKE_SYSTEM_PROCESSOR})
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION net)
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_DEPENDS "systemd | systemd-standalone-sysusers | systemd-sysusers, procps")
set(CPACK_DEBIAN_PACKAGE_SUGGESTS "prometheus, redis-server")
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
file(WRITE ${CMAKE_BINARY_DIR}/conffiles "/etc/weir/weir.yaml\n")
set(CPACK_DEBIAN_PACKAGE_CONTROL_EXTRA ${package}/postinst ${package}/prerm ${package}/postrm ${CMAKE_BINARY_DIR}/conffiles)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)
