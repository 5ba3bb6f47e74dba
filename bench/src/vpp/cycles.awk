# What VPP's `show runtime` says of one worker: cycles per packet of the nodes between the one that brings packets (pg-input, memif-input)
# and those that take them away (…-tx). Columns from the right: vectors per call, clocks per packet, suspends, vectors (packets), calls.
NF >= 7 && $(NF - 1) ~ /^[0-9.]+(e[-+]?[0-9]+)?$/ && $(NF - 3) > 0 {
    if ($1 == "pg-input" || $1 == "memif-input") {
        packets += $(NF - 3)
        calls += $(NF - 4)
    } else if ($1 !~ /-tx$/) {
        cycles += $(NF - 3) * $(NF - 1)
        printf "%8.1f  %s\n", $(NF - 1), $1
    }
}
END {
    if (packets > 0) {
        printf "%8.1f cycles per packet, %.0f packets, %.1f per vector\n", cycles / packets, packets, packets / calls
    } else {
        print "no packets came"
    }
}
