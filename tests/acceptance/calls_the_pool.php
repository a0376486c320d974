<?php
// A program written against the original pool, as its README shows it: tasks as JSON, in single quotes or
// in a file; the last line that comes back is the results. It knows nothing of who answers.

function task(string $name, string $command, string ...$args): array
{
    return ['identifier' => $name, 'command' => $command, 'args' => $args];
}

function run(string $flags): array
{
    $printed = shell_exec("./go-workerpool $flags");
    $lines = explode("\n", trim((string) $printed));
    $results = json_decode(end($lines), true, 512, JSON_THROW_ON_ERROR);
    $by_name = [];
    foreach ($results as $result) {
        $by_name[$result['identifier']] = $result;
    }
    return $by_name;
}

function show(string $title, array $results): void
{
    echo "$title\n";
    foreach ($results as $name => $result) {
        $keys = implode(',', array_keys($result));
        echo "  $name: {$result['exit_code']} ", json_encode($result['result_body']), " ($keys)\n";
    }
}

$jobs = [];
for ($n = 1; $n <= 8; $n++) {
    $jobs[] = task("job $n", 'sh', '-c', "echo output of $n");
}
show('as an argument', run("-t 4 '" . json_encode($jobs) . "'"));

$mixed = [
    task('fails', 'sh', '-c', 'echo partly; exit 3'),
    task('is killed', 'sh', '-c', 'kill -9 $$'),
    task('is unknown', 'no-such-program'),
    task('says no text', 'printf', '\377'),
];
file_put_contents('tasks.json', json_encode($mixed));
show('from a file', run('-i tasks.json -t 4'));

run("-t 4 -i tasks.json -o results.json; echo '[]'");
show('into a file', array_column(json_decode(file_get_contents('results.json'), true), null, 'identifier'));

exec("./go-workerpool -t 4 -v '" . json_encode($jobs) . "' 2>/dev/null", $lines, $status);
echo 'status ', $status, ', results ', count(json_decode(end($lines))), "\n";

exec("./go-workerpool '[]'", $none, $status);
echo 'of no tasks: ', end($none), ', status ', $status, "\n";
