# SPDX-License-Identifier: MIT
#
# Sums up what the programs that kill have printed, for scripts/crash.sh: a Markdown table of one
# file of rows; or with table=all a line that counts kills, rows and failures of all files, and exit
# code 1 if there were any.
#
# Lines that begin with "# " are the script's: the command that follows, its exit code, and rows
# that ought to be there.

# Adds a word to a list.
function with(list, word) {
	return list == "" ? word : index(", " list ", ", ", " word ", ") ? list : list ", " word
}

# A list's words in the order in which `order` has them.
function in_order(list, order,    n, words, i, out) {
	n = split(order, words, " ")
	for (i = 1; i <= n; i++)
		if (index(", " list ", ", ", " words[i] ", "))
			out = with(out, words[i])
	return out
}

function span(low, high) {
	return low == high ? low : low "–" high
}

# 1234567: 1,234,567.
function grouped(n,    text) {
	for (text = ""; n >= 1000; n = int(n / 1000))
		text = sprintf(",%03d%s", n % 1000, text)
	return n text
}

# A command without options that are given again further on, nor what does not matter.
function as_understood(command,    n, words, i, j, out) {
	n = split(command, words, " ")
	for (i = 1; i <= n; i++) {
		for (j = i + 1; j <= n && words[j] != words[i]; j++)
			;
		if (words[i] == "--jobs" || (words[i] ~ /^--/ && j <= n))
			i++
		else
			out = out (i > 1 ? " " : "") words[i]
	}
	return out
}

function failed_row(key, text) {
	failures++
	failures_of_command++
	bad[key]++
	if (table == "all")
		print "FAILED  " text
}

# Lines of a table, in the order in which they are first spoken of.
function line_of(key) {
	if (!(key in known)) {
		known[key] = 1
		keys[++lines] = key
	}
	return key
}

# A row has been reported, and whether all was well.
function reported(row, key, steps, n, well) {
	line_of(key)
	delete missing[row]
	rows++
	if (!(key in low) || steps < low[key])
		low[key] = steps
	high[key] = steps > high[key] ? steps : high[key]
	kills[key] += n
	all_kills += n
	if (!well)
		failed_row(key, row)
}

function tell(key, ms) {
	told[key] = ms > told[key] ? ms : told[key]
	any_told = 1
}

$1 == "#" && $2 == "date" { date = $3 }
$1 == "#" && $2 == "library" { libraries = with(libraries, $3) }
$1 == "#" && $2 == "seconds" { seconds += $3 }
$1 == "#" && $2 == "listed" {
	missing[$3 " " $4 " " $5 " " $6] = line_of($3 " " $5)
}
$1 == "#" && $2 == "run" {
	command = as_understood(substr($0, 7))
	if ($3 == "crash_heap_step") { # one for each row: what they have in common
		gsub(/ --(kind|op|from) [^ ]+/, "", command)
		if (!(command in seen))
			commands[++ran] = command
		seen[command] = 1
	} else {
		commands[++ran] = command
	}
	failures_of_command = 0
	if ($3 == "crash_heap_step" && $4 == "--kind")
		missing[$7 " " $5] = line_of($7 " " $5)
}
$1 == "#" && $2 == "exit" {
	for (row in missing)
		failed_row(missing[row], row ": not reported")
	split("", missing)
	if ($3 != 0 && failures_of_command == 0)
		failed_row("", command ": exit code " $3)
}

# crash_step
($1 == "ok" || $1 == "FAILED") && $6 == "steps" {
	shape = "step"
	key = $2 " " $4
	reported($2 " " $3 " " $4 " " $5, key, $7, $9, $1 == "ok")
	states[key] = with(states[key], $3)
	backends[key] = with(backends[key], $5)
	again[key] += $11
	missed[key] += $13
	late[key] += $15
	if ($17 != "-")
		tell(key, $17)
}

# crash_step_pairs: kills are runs
($1 == "ok" || $1 == "FAILED") && $7 == "instructions" {
	shape = "two"
	key = $2 " " $3
	reported($2 " beside " $3 " " $4 " " $5 " " $6, key, $8, $12, $1 == "ok")
	states[key] = with(states[key], $4)
	kinds[key] = with(kinds[key], $5)
	backends[key] = with(backends[key], $6)
	if (!(key in low2) || $10 < low2[key])
		low2[key] = $10
	high2[key] = $10 > high2[key] ? $10 : high2[key]
}

# What was wrong with a row is told before it.
table == "all" && ($1 == "not" || /^(heap_step|pollset_step) .*\(/)

$1 == "pollset_step" && /instructions,/ {
	shape = "sets"
	key = substr($3, 1, length($3) - 1) " " $2
	reported(key, key, $4, $6, $NF == "ok")
	tell(key, $10)
	late[key] += $12
}

$1 == "heap_step" && /instructions,/ {
	shape = "heap"
	key = substr($3, 1, length($3) - 1) " " $2
	reported(key, key, $4, $6, 1)
	missed[key] += $8
}

# ---- the table -----------------------------------------------------------------------------------

function states_of(key) {
	return in_order(states[key],
		"empty half full wrap lent large dead-p dead-c futex sem sysvsem eventfd")
}

function backends_of(key,    list) {
	list = in_order(backends[key], "shm sysv file memfd")
	return list == "shm, sysv, file, memfd" ? "all" : list
}

function heading(text,    n, words, i, rule, text_columns) {
	text_columns = "^ (operation|kinds?|states|backends|first|second) $"
	n = split(text, words, "|")
	for (i = 2; i < n; i++)
		rule = rule "|---" (words[i] ~ text_columns ? "" : ":")
	print text
	print rule "|"
}

function told_of(key) {
	return key in told ? sprintf("%.0f ms", told[key]) : "–"
}

function print_line(key,    part) {
	split(key, part, " ")
	if (shape == "step")
		printf "| %s | %s | %s | %s | %s | %d | %d | %d |%s %d |\n", part[1], part[2],
			states_of(key), backends_of(key), span(low[key], high[key]), kills[key],
			again[key], missed[key],
			any_told ? " " late[key] + 0 " | " told_of(key) " |" : "", bad[key]
	else if (shape == "two")
		printf "| %s | %s | %s | %s | %s | %s × %s | %d | %d |\n", part[1], part[2],
			in_order(kinds[key], "spsc mpmc"), states_of(key), backends_of(key),
			span(low[key], high[key]), span(low2[key], high2[key]), kills[key], bad[key]
	else if (shape == "sets")
		printf "| %s | %s | %d | %d | %d | %s | %d |\n", part[1], part[2], low[key],
			kills[key], late[key], told_of(key), bad[key]
	else
		printf "| %s | %s | %d | %d | %d | %d |\n", part[1], part[2], low[key],
			kills[key], missed[key], bad[key]
}

function print_table(    i) {
	printf "`scripts/crash.sh %s`, %s, library %s, %s s:\n", table, date, libraries,
		grouped(seconds)
	for (i = 1; i <= ran; i++)
		printf "`%s`%s ", commands[i], i < ran ? "," : ";"
	printf "%s %s in %s rows, %d failed.\n\n", grouped(all_kills),
		shape == "two" ? "runs" : "kills", grouped(rows), failures
	if (shape == "step")
		heading("| operation | kind | states | backends | instructions | kills |" \
			" redelivered | missed |" (any_told ? " late | told, at most |" : "") \
			" failed rows |")
	else if (shape == "two")
		heading("| first | second | kinds | states | backends | instructions of each |" \
			" runs | failed rows |")
	else if (shape == "sets")
		heading("| operation | kind | instructions | kills | late | told, at most |" \
			" failed rows |")
	else
		heading("| operation | kind | instructions | kills | elsewhere | failed rows |")
	for (i = 1; i <= lines; i++)
		print_line(keys[i])
}

END {
	if (table != "all") {
		print_table()
		exit 0
	}
	if (rows == 0 && failures == 0)
		failed_row("", "nothing was killed")
	if (index(libraries, ","))
		print "These rows are not of one library: " libraries
	printf "%d kills in %d rows, %d failed\n", all_kills, rows, failures
	exit failures != 0
}
