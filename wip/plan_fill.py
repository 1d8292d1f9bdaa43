"""Fills docs/planning.md's @PLACES@ from benchmarks/results/scale.json."""
import json, re, sys
root='/tmp/w/plan/'
f=json.load(open(root+'benchmarks/results/scale.json'))['figures']
p=root+sys.argv[1]; s=open(p).read()
def q(name, d=0, pct=False):
    v=f[name]*(100 if pct else 1)
    return f"{round(v,d):.{d}f}{' %' if pct else ''}<!--scale.{name}-->"
for place,name in (('ZERO_LOW','plan_r1_zero_hours_low'),('ZERO_HIGH','plan_r1_zero_hours_high'),('ZERO','plan_r1_zero_hours'),('R1_FEWER','plan_r1_hours_fewer_updates'),('R1_MORE','plan_r1_hours_more_updates'),('R1_LOW','plan_r1_hours_low'),('R1_HIGH','plan_r1_hours_high'),('R1','plan_r1_hours')):
    s=s.replace('@'+place+'@', q(name, 1 if place in('ZERO','R1') else 0))
rows=['| stage | seconds a step | planned |','|---|---|---|']
for n,w in (('dev2','the same model, longer completions'),('r1','the same model, a KL term and two reward models'),('student-rl','another model, a third of the size, shorter completions')):
    rows.append(f"| {n}: {w} | {q(f'mini_{n}_step_s',2)} | {q(f'plan_mini_{n}_step_s',2)} |")
s=s.replace('@MINI@','\n'.join(rows)).replace('@MINI_ROUNDS@', q('plan_mini_rounds',0)).replace('@MINI_ERROR@', q('plan_mini_step_error',0,True))
rows=['| | '+' | '.join(f'{g:,} GPUs' for g in (8,128,1024,10000))+' | half of the speed a GPU at |','|---|---|---|---|---|---|']
for w in ('colocated','split','asynchronous'):
    cells=[f"{q(f'simulated_{w}_{g}_per_s',1)} a second, {q(f'simulated_{w}_{g}_busy',0,True)} in use" for g in (8,128,1024,10000)]
    rows.append(f"| {w} | "+' | '.join(cells)+f" | {q(f'simulated_{w}_knee_gpus')} |")
s=s.replace('@SIM@','\n'.join(rows)).replace('@LATE_1024@', q('simulated_asynchronous_1024_late',1,True)).replace('@LATE_10000@', q('simulated_asynchronous_10000_late',0,True))
open(p,'w').write(s); print(re.findall('@[A-Z_0-9]+@',s))
