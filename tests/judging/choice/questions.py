"""Self-written questions with their correct option(s), shared by the tables of replies."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Question:
    prompt: str
    correct: str


CAPITAL = Question("中国的首都是哪座城市？ 选择正确选项作答  A、上海 B、北京 C、广州 D、深圳", "B")
BLOOD = Question("红细胞膜上没有A、B抗原的血型是 选择正确选项作答  A、A型血 B、AB型血 C、O型血 D、B型血", "C")
TYPES = Question("竞争意识强、性情急躁的人属于 选择正确选项作答  A、D型人格 B、B型人格 C、A型人格 D、C型人格", "C")
NESTED = Question("社区组织的读书活动属于 选择正确选项作答  A、教育 B、社会教育 C、家庭教育 D、家庭社会教育", "B")
TWINS = Question("流速增大时，断面流量将 选择正确选项作答  A、增大 B、不变 C、增大 D、减小", "C")
NUMBER = Question("3除以60等于 选择正确选项作答  A、0.5 B、0.05 C、5 D、50%", "B")
LATEX = Question("配对资料的自由度是 选择正确选项作答  A、$n-1$ B、$\\mathrm{R}\\times\\mathrm{C}$ C、$n_1+n_2-2$ D、$\\frac{n}{2}$", "A")
SIGNS = Question("正相关时 选择正确选项作答  A、$r>0， b>0$ B、$r<0， b>0$ C、$r=b$ D、$r>0， b<0$", "A")
LAW = Question(
    "老师把学生的手机扔掉，这一做法 选择正确选项作答  A、合法，学校有权管理学生 B、不合法，侵犯了学生的财产权 "
    "C、合法，有利于维持教学秩序 D、不合法，侵犯了学生的人格尊严",
    "B",
)
WRONG = Question("下列说法错误的是 选择正确选项作答  A、太阳是恒星 B、月球是卫星 C、地球是恒星 D、火星是行星", "C")
MULTI = Question("（多选题）下列属于直辖市的有 选择正确选项作答  A、北京 B、天津 C、广州 D、重庆", "ABD")
EVERY = Question("（多选题）下列属于颜色的有 选择正确选项作答  A、红 B、黄 C、蓝 D、绿", "ABCD")
ABOVE = Question("下列属于水果的是 选择正确选项作答  A、苹果 B、雪梨 C、桃子 D、以上都是", "D")
NOTHING = Question("下列属于鸟类的是 选择正确选项作答  A、鲸鱼 B、青蛙 C、蝙蝠 D、以上都不是", "D")
TRUTH = Question("判断：地球绕着太阳转。 A、正确 B、错误", "A")
TICK = Question("判断：水在标准大气压下50摄氏度沸腾。 A、√ B、×", "B")
ENGLISH = Question("What is the capital of France?\nA. London\nB. Paris\nC. Berlin\nD. Rome", "B")
PAREN = Question("水的化学式是 (A) CO2 (B) H2O (C) O2 (D) NaCl", "B")
EIGHT = Question("一年中的第七个月是 A.一月 B.二月 C.三月 D.四月 E.五月 F.六月 G.七月 H.八月", "G")
LONG = Question(
    "关于小说《山路》，理解不正确的一项是\nA．小说以第一人称展开叙述，语言朴素自然。\nB．文中多次写到山路，暗示人物命运的曲折。\n"
    "C．老人送别儿子的场面，表现了母爱的深沉。\nD．结尾写大雪封山，渲染了悲凉的气氛。",
    "C",
)
LETTERS = Question("下列哪些人参加了会议 选择正确选项作答  A、甲 B、乙 C、A，B均是 D、A，B均不是", "C")
BOOKS = Question("鲁迅的散文诗集是 选择正确选项作答  A、《呐喊》 B、《彷徨》 C、《野草》 D、《朝花夕拾》", "C")
