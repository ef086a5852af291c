#!/bin/bash
# Everything that is to be known of a machine with GPUs, in parts that each end within ten minutes.
#
#   benchmarks/gpu.sh                    all parts; MARKET=market1501/ for the schedules, OUT=FOLDER for the results
#   benchmarks/gpu.sh quick              all parts at tiny sizes, on a CPU too
#   benchmarks/gpu.sh correctness        one part: correctness, steps, clustering, schedules or processes
#
# A schedule that did not end goes on when the part is started again. ROUNDS=N starts each up to N times (6).
cd "$(dirname "$0")/.." || exit 1
export PYTHONPATH=$PWD/src${PYTHONPATH:+:$PYTHONPATH}
out=${OUT:-gpu-results}
python=${PYTHON:-python}
quick=()
if [ "$1" = quick ]; then
    quick=(--quick)
    shift
fi
parts=("${@:-correctness steps clustering schedules processes}")
status=0

part() {
    echo
    echo "== $* =="
    timeout --kill-after=30 590 "$python" benchmarks/gpu.py "$@" --out "$out" "${quick[@]}" || {
        echo "failed: $*"
        status=1
    }
}

for name in ${parts[*]}; do
    if [ "$name" != schedules ]; then
        part "$name"
        continue
    fi
    for schedule in dcmip/market1501 pplr/market1501 cluster_contrast/market1501 cluster_contrast/cameras; do
        for _ in $(seq "${ROUNDS:-6}"); do
            part schedule --schedule "$schedule" ${MARKET:+--data "$MARKET"}
            grep -q '"ended": false' "$out/part-schedule-${schedule/\//-}.json" 2>/dev/null || break
        done
    done
done
"$python" benchmarks/gpu.py report --out "$out" "${quick[@]}" || status=1
exit $status
