# Read by cpack as it begins: every file of the package bears the date of its changelog, so that the same build packs to the same bytes.
if(NOT DEFINED ENV{SOURCE_DATE_EPOCH})
	execute_process(COMMAND dpkg-parsechangelog -l ${CMAKE_CURRENT_LIST_DIR}/changelog -STimestamp OUTPUT_VARIABLE date
			OUTPUT_STRIP_TRAILING_WHITESPACE COMMAND_ERROR_IS_FATAL ANY)
	set(ENV{SOURCE_DATE_EPOCH} ${date})
endif()
